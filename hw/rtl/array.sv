// The array: a row of ROWS bytes a cycle times a tile of ROWS x COLUMNS weights, summed up over each chain of 8 places.
//
// Byte j of a row drives chain j mod CHAINS at place j div CHAINS, with CHAINS = ROWS / 8:
//   sums[chain][column] = sum over places of row[place * CHAINS + chain] * weight[place * CHAINS + chain][column]
// A DSP block is a place of two columns (`dsp_mac2`). Weights are -127..127, so a chain's sum has 18 bits.
//
// Loading: with load_valid, load_data are rows load_group * LOAD_ROWS and following of the next tile; row r, column c is
// byte r * COLUMNS + c. They wait beside the weights that work.
// Rows: row_data, a row a cycle. row_swap comes with the first row of a tile: from that row on the weights that waited
// work. All of a tile is loaded before the cycle of its first row. The next tile may be loaded from that cycle on, in
// ascending order, since weights are swapped place by place, a cycle each, and LOAD_ROWS <= CHAINS rows arrive a cycle.
// Bytes of a row beyond the tile's depth are 0: there the weights of an older tile work.
// Out: sums of a row with its tag, LATENCY = 12 cycles later. valid is reset, nothing else is.
//
// CELLS = 1: DSP blocks; 0: the same as loops, which simulate faster.
module array #(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned TAG       = 1,
    parameter bit          CELLS     = 1'b1,
    localparam int unsigned PLACES   = 8,
    localparam int unsigned CHAINS   = ROWS / PLACES,
    localparam int unsigned GROUPS   = ROWS / LOAD_ROWS,
    localparam int unsigned SUM      = 18
) (
    input  logic                          clk,
    input  logic                          reset,
    input  logic                          load_valid,
    input  logic [$clog2(GROUPS)-1:0]     load_group,
    input  logic [LOAD_ROWS*COLUMNS*8-1:0] load_data,
    input  logic                          row_valid,
    input  logic                          row_swap,
    input  logic [ROWS*8-1:0]             row_data,
    input  logic [TAG-1:0]                row_tag,
    output logic                          sum_valid,
    output logic [TAG-1:0]                sum_tag,
    output logic [CHAINS*COLUMNS*SUM-1:0] sums
);
  localparam int unsigned LATENCY = PLACES + 4;

  if (ROWS % PLACES != 0 || COLUMNS % 2 != 0) begin : g_sizes
    $fatal(1, "ROWS must be chains of 8, COLUMNS pairs");
  end
  if (ROWS % LOAD_ROWS != 0 || LOAD_ROWS > CHAINS || GROUPS < 2) begin : g_load
    $fatal(1, "LOAD_ROWS must divide ROWS and be at most CHAINS");
  end

  // Registers of everything that comes in: row and load of one cycle meet in the cells as they met here.
  logic                           loads;
  logic [$clog2(GROUPS)-1:0]      group;
  logic [LOAD_ROWS*COLUMNS*8-1:0] weights;
  logic                           swap;
  logic [ROWS*8-1:0]              bytes;
  logic [LATENCY-1:0]             valid;

  always_ff @(posedge clk) begin
    loads   <= load_valid;
    group   <= load_group;
    weights <= load_data;
    swap    <= row_valid && row_swap;
    bytes   <= row_data;
    valid   <= {valid[LATENCY-2:0], row_valid};
    if (reset) begin
      loads <= 1'b0;
      valid <= '0;
    end
  end
  assign sum_valid = valid[LATENCY-1];

  delay #(.BITS(TAG), .CYCLES(LATENCY)) tags (.clk, .in(row_tag), .out(sum_tag));

  // Place g works g cycles after place 0.
  logic [ROWS*8-1:0] activations;
  logic [PLACES-1:0] swaps;

  for (genvar g = 0; g < PLACES; g++) begin : g_skew
    delay #(.BITS(CHAINS * 8 + 1), .CYCLES(g)) skew (
        .clk,
        .in ({swap, bytes[g*CHAINS*8+:CHAINS*8]}),
        .out({swaps[g], activations[g*CHAINS*8+:CHAINS*8]})
    );
  end

  if (CELLS) begin : g_cells
    // Two weights on one operand: high * 2^18 + low. A negative low sum borrows one from the high one.
    logic [LOAD_ROWS*COLUMNS/2*27-1:0] pairs;
    for (genvar i = 0; i < LOAD_ROWS * COLUMNS / 2; i++) begin : g_pack
      assign pairs[i*27+:27] = 27'(signed'({weights[i*16+8+:8], 18'd0})) + 27'(signed'(weights[i*16+:8]));
    end
    for (genvar s = 0; s < CHAINS; s++) begin : g_chain
      for (genvar c = 0; c < COLUMNS / 2; c++) begin : g_pair
        for (genvar g = 0; g < PLACES; g++) begin : g_place
          localparam int unsigned ROW = g * CHAINS + s;
          logic [47:0] cascade, from;
          // Only the last place's sum leaves the cascade, with two columns of 18 bits.
          /* verilator lint_off UNUSEDSIGNAL */
          logic [47:0] sum;
          /* verilator lint_on UNUSEDSIGNAL */
          if (g == 0) begin : g_first
            assign from = '0;
          end else begin : g_next
            assign from = g_place[g-1].cascade;
          end
          dsp_mac2 #(
              .FIRST(g == 0)
          ) block (
              .clk,
              .load(loads && group == $clog2(GROUPS)'(ROW / LOAD_ROWS)),
              .swap(swaps[g]),
              .weights(pairs[(ROW%LOAD_ROWS*COLUMNS/2+c)*27+:27]),
              .activation(activations[ROW*8+:8]),
              .cascade_in(from),
              .cascade_out(cascade),
              .sum
          );
        end
        logic unused;
        logic [35:0] last;
        assign last   = g_place[PLACES-1].sum[35:0];
        assign unused = &{1'b0, g_place[PLACES-1].cascade};
        always_ff @(posedge clk) begin
          sums[(s*COLUMNS+2*c)*SUM+:SUM]   <= last[17:0];
          sums[(s*COLUMNS+2*c+1)*SUM+:SUM] <= last[35:18] + 18'(last[17]);
        end
      end
    end
  end else begin : g_loops
    logic signed [7:0] waiting[ROWS][COLUMNS], working[ROWS][COLUMNS], activation[ROWS];
    logic signed [15:0] product[ROWS][COLUMNS];
    logic signed [31:0] sum[ROWS][COLUMNS];
    // Registers of this block alone, from the last stage to the first, so that no loop copies an array.
    /* verilator lint_off BLKSEQ */
    always_ff @(posedge clk) begin
      for (int s = 0; s < CHAINS; s++)
        for (int c = 0; c < COLUMNS; c++) sums[(s*COLUMNS+c)*SUM+:SUM] <= sum[ROWS-CHAINS+s][c][SUM-1:0];
      /* verilator unroll_disable */
      for (int row = ROWS - 1; row >= 0; row--) begin
        /* verilator unroll_disable */
        for (int c = 0; c < COLUMNS; c++) begin
          sum[row][c] = 32'(product[row][c]);
          if (row >= CHAINS) sum[row][c] += sum[row-CHAINS][c];
          product[row][c] = 16'(working[row][c]) * 16'(activation[row]);
        end
        if (swaps[row/CHAINS]) working[row] = waiting[row];
        activation[row] = activations[row*8+:8];
      end
      if (loads) begin
        /* verilator unroll_disable */
        for (int i = 0; i < LOAD_ROWS; i++) begin
          /* verilator unroll_disable */
          for (int c = 0; c < COLUMNS; c++)
            waiting[32'(group)*LOAD_ROWS+i][c] = weights[(i*COLUMNS+c)*8+:8];
        end
      end
    end
    /* verilator lint_on BLKSEQ */
  end
endmodule
