// The accumulators: sums of the array's chains, added up over the tiles of k of a row.
//
// In:  the chain sums of a row with its tag, a row a cycle. in_first: the row's first tile, whose sums begin at 0;
//      in_last: its last tile. Between two tiles of the same in_row there are at least 4 cycles.
// Out: LATENCY cycles after a row's last tile, with its tag, for each column
//        sum over tiles and chains of sums[chain][column], below 2^26 in magnitude.
//      valid is reset, nothing else is.
// A memory of DEPTH rows is read two cycles before the sums of the chains are there, and written a cycle after.
module accumulators #(
    parameter int unsigned CHAINS  = 2,
    parameter int unsigned COLUMNS = 16,
    parameter int unsigned DEPTH   = 512,
    parameter int unsigned TAG     = 1,
    localparam int unsigned CHAIN  = 18,
    localparam int unsigned SUM    = 27
) (
    input  logic                             clk,
    input  logic                             reset,
    input  logic                             in_valid,
    input  logic                             in_first,
    input  logic                             in_last,
    input  logic [$clog2(DEPTH)-1:0]         in_row,
    input  logic [TAG-1:0]                   in_tag,
    input  logic [CHAINS*COLUMNS*CHAIN-1:0]  in_sums,
    output logic                             out_valid,
    output logic [TAG-1:0]                   out_tag,
    output logic [COLUMNS*SUM-1:0]           out_sums
);
  localparam int unsigned LEVELS = $clog2(CHAINS);
  localparam int unsigned ADD = LEVELS > 2 ? LEVELS : 2;  // cycles until a row is added to the memory's
  localparam int unsigned LATENCY = ADD + 1;
  localparam int unsigned ROW = $clog2(DEPTH);
  localparam int unsigned READ = 2;  // cycles of the memory
  localparam int unsigned AGAIN = 4;

  logic [LATENCY-1:0] valid;
  always_ff @(posedge clk) valid <= reset ? '0 : {valid[LATENCY-2:0], in_valid};

  logic first, last, ended;
  logic [ROW-1:0] read_row, write_row;
  delay #(.BITS(ROW), .CYCLES(ADD - READ)) reads (.clk, .in(in_row), .out(read_row));
  delay #(.BITS(ROW), .CYCLES(READ + 1)) writes (.clk, .in(read_row), .out(write_row));
  delay #(.BITS(2), .CYCLES(ADD)) adds (.clk, .in({in_first, in_last}), .out({first, last}));
  delay #(.BITS(TAG), .CYCLES(LATENCY)) tags (.clk, .in(in_tag), .out(out_tag));

  // The memory, COLUMNS sums wide.
  logic [COLUMNS*SUM-1:0] memory[DEPTH];
  logic [COLUMNS*SUM-1:0] read, base;
  always_ff @(posedge clk) begin
    read   <= memory[read_row];
    base <= read;
    ended  <= last;
    if (valid[LATENCY-1] && !ended) memory[write_row] <= out_sums;
  end
  assign out_valid = valid[LATENCY-1] && ended;

  for (genvar c = 0; c < COLUMNS; c++) begin : g_column
    logic [CHAINS*CHAIN-1:0] terms;
    logic [CHAIN+LEVELS-1:0] total, sum;
    for (genvar s = 0; s < CHAINS; s++) begin : g_term
      assign terms[s*CHAIN+:CHAIN] = in_sums[(s*COLUMNS+c)*CHAIN+:CHAIN];
    end
    adder_tree #(.TERMS(CHAINS), .BITS(CHAIN)) tree (.clk, .terms, .sum(total));
    delay #(.BITS(CHAIN + LEVELS), .CYCLES(ADD - LEVELS)) wait_ (.clk, .in(total), .out(sum));
    always_ff @(posedge clk)
      out_sums[c*SUM+:SUM] <= SUM'(signed'(sum)) + (first ? '0 : base[c*SUM+:SUM]);
  end

`ifndef SYNTHESIS
  // What the memory relies on.
  logic [AGAIN-2:0] recent;
  logic [ROW-1:0] rows[AGAIN-1];
  always_ff @(posedge clk) begin
    recent  <= reset ? '0 : {recent[AGAIN-3:0], in_valid};
    rows[0] <= in_row;
    for (int unsigned i = 1; i < AGAIN - 1; i++) rows[i] <= rows[i-1];
    for (int unsigned i = 0; i < AGAIN - 1; i++)
      if (!reset && in_valid && !in_first && recent[i] && rows[i] == in_row)
        $fatal(1, "row %0d comes again after %0d cycles, not 4", in_row, i + 1);
  end
`endif
endmodule
