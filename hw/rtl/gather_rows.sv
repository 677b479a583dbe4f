// Where the rows of a LINEAR with `gather` lie: src + token * src_stride for each token of its place in an expert's queue.
//
// In:  layer, with gather and rows, at start_valid and start_ready.
// Router: walk_valid, walk_ready: tokens of walk_rows places from walk_skip on of the queue of entry walk_entry are due;
//      they come in order at token_valid and token_ready, those of one walk after those of the one before.
// Out: granule of row `row` of the gathers that are walked in turn, `turn` 0 and 1, where `here`; 4 cycles after its token.
//      A gather may start when the one before the last has ended its steps.
module gather_rows
  import matrix_pkg::*;
#(
    parameter int unsigned DEPTH = 512,
    localparam int unsigned ROW  = $clog2(DEPTH)
) (
    input  logic        clk,
    input  logic        reset,
    input  logic        start_valid,
    output logic        start_ready,
    /* verilator lint_off UNUSEDSIGNAL */
    input  layer_t      layer,  // the walk reads the other operands
    /* verilator lint_on UNUSEDSIGNAL */
    output logic        walk_valid,
    input  logic        walk_ready,
    output logic [13:0] walk_entry,
    output logic [12:0] walk_skip,
    output logic [10:0] walk_rows,
    input  logic        token_valid,
    output logic        token_ready,
    input  logic [12:0] token,
    input  logic        turn,
    input  logic [10:0] row,
    output logic        here,
    output logic [16:0] granule
);
  localparam int unsigned PRODUCT = 3;
  typedef struct packed {
    logic        turn;
    logic [16:0] src;
    logic [11:0] stride;
    logic [10:0] rows;
  } name_t;

  logic starts, next_turn, walks_ready, names_ready, named, goes, ends;
  name_t given, name;
  assign start_ready = walks_ready && names_ready;
  assign starts      = start_valid && start_ready;
  assign given       = '{turn: next_turn, src: layer.src, stride: layer.src_stride, rows: layer.rows};

  fifo #(.WIDTH(38), .DEPTH(2)) walks (
      .clk,
      .reset,
      .in_valid(starts),
      .in_ready(walks_ready),
      .in_data({layer.slot - 14'd1, layer.skip, layer.rows}),
      .out_valid(walk_valid),
      .out_ready(walk_ready),
      .out_data({walk_entry, walk_skip, walk_rows})
  );
  fifo #(.WIDTH($bits(name_t)), .DEPTH(2)) names (
      .clk,
      .reset,
      .in_valid(starts),
      .in_ready(names_ready),
      .in_data(given),
      .out_valid(named),
      .out_ready(ends),
      .out_data(name)
  );

  logic [10:0] place;
  assign token_ready = named;
  assign goes        = token_valid && token_ready;
  assign ends        = goes && place == name.rows - 11'd1;

  // token * stride, and what it belongs to.
  logic [PRODUCT-1:0] valid;
  logic to;
  logic [ROW-1:0] at;
  logic [16:0] from;
  /* verilator lint_off UNUSEDSIGNAL */
  logic [47:0] product;  // a granule has 17 bits
  /* verilator lint_on UNUSEDSIGNAL */
  dsp_mulc multiply (.clk, .a(27'(token)), .b(18'(name.stride)), .product(product));
  delay #(
      .BITS(18 + ROW),
      .CYCLES(PRODUCT)
  ) belongs (
      .clk,
      .in ({name.turn, ROW'(place), name.src}),
      .out({to, at, from})
  );

  logic [16:0] granules[2*DEPTH];
  logic [10:0] count[2];
  always_ff @(posedge clk) begin
    valid <= {valid[PRODUCT-2:0], goes};
    if (goes) place <= ends ? '0 : place + 11'd1;
    if (valid[PRODUCT-1]) begin
      granules[{to, at}] <= from + product[16:0];
      count[to] <= count[to] + 11'd1;
    end
    if (starts) begin
      next_turn        <= !next_turn;
      count[next_turn] <= '0;
    end
    if (reset) begin
      valid     <= '0;
      place     <= '0;
      next_turn <= 1'b0;
    end
  end
  assign here    = row < count[turn];
  assign granule = granules[{turn, ROW'(row)}];
endmodule
