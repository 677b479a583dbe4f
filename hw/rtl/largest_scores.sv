// The largest score of each row, over the tiles of keys.
//
// In:  a row of a tile: HEADS slots of COLUMNS scores, of which the first in_columns count; in_opens with the first tile of
//      a row, in_closes with its last one. Between two tiles of the same in_row there are at least 4 cycles.
// Out: LATENCY = clog2(COLUMNS) + 2 cycles after the last tile the largest score of each slot, with its tag.
module largest_scores #(
    parameter int unsigned COLUMNS = 16,
    parameter int unsigned HEADS   = 2,
    parameter int unsigned DEPTH   = 512,
    parameter int unsigned TAG     = 1,
    localparam int unsigned ROW    = $clog2(DEPTH)
) (
    input  logic                         clk,
    input  logic                         reset,
    input  logic                         in_valid,
    input  logic                         in_opens,
    input  logic                         in_closes,
    input  logic [ROW-1:0]               in_row,
    input  logic [$clog2(COLUMNS+1)-1:0] in_columns,
    input  logic [TAG-1:0]               in_tag,
    input  logic [HEADS*COLUMNS*16-1:0]  in_scores,
    output logic                         out_valid,
    output logic [TAG-1:0]               out_tag,
    output logic [HEADS*16-1:0]          out_largest
);
  localparam int unsigned LEVELS = $clog2(COLUMNS);
  localparam int unsigned LATENCY = LEVELS + 2;
  localparam int unsigned READ = 2;

  if (COLUMNS != 1 << LEVELS || LEVELS < 1) begin : g_sizes
    $fatal(1, "COLUMNS must be a power of two");
  end

  logic [LATENCY-1:0] valid;
  logic opens, closed;
  logic [ROW-1:0] read_row, write_row;
  logic [HEADS*16-1:0] memory[DEPTH];
  logic [HEADS*16-1:0] read, before_;
  delay #(.BITS(ROW), .CYCLES(LEVELS + 1 - READ)) reads (.clk, .in(in_row), .out(read_row));
  delay #(.BITS(ROW), .CYCLES(READ + 1)) writes (.clk, .in(read_row), .out(write_row));
  delay #(.BITS(1), .CYCLES(LEVELS + 1)) firsts (.clk, .in(in_opens), .out(opens));
  delay #(.BITS(1 + TAG), .CYCLES(LATENCY)) tags (.clk, .in({in_closes, in_tag}), .out({closed, out_tag}));
  always_ff @(posedge clk) begin
    valid   <= reset ? '0 : {valid[LATENCY-2:0], in_valid};
    read    <= memory[read_row];
    before_ <= read;
    if (valid[LATENCY-1]) memory[write_row] <= out_largest;
  end
  assign out_valid = valid[LATENCY-1] && closed;

  for (genvar h = 0; h < HEADS; h++) begin : g_head
    for (genvar l = 0; l <= LEVELS; l++) begin : g_level
      logic signed [15:0] scores[COLUMNS>>l];
      for (genvar c = 0; c < COLUMNS >> l; c++) begin : g_score
        if (l == 0) begin : g_given
          always_ff @(posedge clk)
            scores[c] <= c < 32'(in_columns) ? in_scores[(h*COLUMNS+c)*16+:16] : 16'h8000;
        end else begin : g_larger
          always_ff @(posedge clk)
            scores[c] <= g_level[l-1].scores[2*c] > g_level[l-1].scores[2*c+1]
                ? g_level[l-1].scores[2*c] : g_level[l-1].scores[2*c+1];
        end
      end
    end
    logic signed [15:0] largest, older;
    assign largest = g_level[LEVELS].scores[0];
    assign older   = before_[h*16+:16];
    always_ff @(posedge clk) out_largest[h*16+:16] <= opens || largest > older ? largest : older;
  end
endmodule
