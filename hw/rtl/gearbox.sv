// Rows of IN a cycle become beats of OUT, tile by tile.
//
// In:  in_count rows of SIZE bits, the first lowest, 1 to IN; in_ends with the last rows of a tile, and its in_tag.
// Out: beats of OUT rows, the last one of a tile filled up with zeros: out_ends, with the tile's tag.
module gearbox #(
    parameter int unsigned IN   = 3,
    parameter int unsigned OUT  = 4,
    parameter int unsigned SIZE = 8,
    parameter int unsigned TAG  = 1,
    localparam int unsigned COUNT = $clog2(IN + 1)
) (
    input  logic                clk,
    input  logic                reset,
    input  logic                in_valid,
    output logic                in_ready,
    input  logic [COUNT-1:0]    in_count,
    input  logic [IN*SIZE-1:0]  in_data,
    input  logic                in_ends,
    input  logic [TAG-1:0]      in_tag,
    output logic                out_valid,
    input  logic                out_ready,
    output logic [OUT*SIZE-1:0] out_data,
    output logic                out_ends,
    output logic [TAG-1:0]      out_tag
);
  localparam int unsigned MOST = IN + OUT - 1;  // rows that can wait
  typedef logic [$clog2(MOST+1)-1:0] level_t;

  logic [SIZE-1:0] rows[MOST];
  level_t level, after;  // rows that wait, now and behind a beat that is taken
  logic ends, goes;

  assign out_valid = ends || 32'(level) >= OUT;
  assign out_ends  = ends && 32'(level) <= OUT;
  assign goes      = out_valid && out_ready;
  assign after     = !goes ? level : 32'(level) > OUT ? level - level_t'(OUT) : '0;
  // A tile begins with a beat of its own, so the next one waits until the last beat of this one goes.
  assign in_ready  = (!ends || (goes && out_ends)) && 32'(after) < OUT;

  for (genvar i = 0; i < OUT; i++) begin : g_out
    assign out_data[i*SIZE+:SIZE] = i < 32'(level) ? rows[i] : '0;
  end

  always_ff @(posedge clk) begin
    for (int unsigned i = 0; i < MOST; i++) begin
      if (goes && i + OUT < MOST) rows[i] <= rows[i+OUT];
      for (int unsigned j = 0; j < IN; j++)
        if (in_valid && in_ready && i == 32'(after) + j) rows[i] <= in_data[j*SIZE+:SIZE];
    end
    level <= after + (in_valid && in_ready ? level_t'(in_count) : '0);
    if (in_valid && in_ready) begin
      ends    <= in_ends;
      out_tag <= in_tag;
    end else if (goes && out_ends) ends <= 1'b0;
    if (reset) begin
      level <= '0;
      ends  <= 1'b0;
    end
  end
endmodule
