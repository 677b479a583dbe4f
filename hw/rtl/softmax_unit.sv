// SOFTMAX: rows of int16 scores to u8 weights in place, and the reciprocal of each row's sum to its row state.
//
//   weight t = exp2(largest - score t), at byte t of its row; state = reciprocal(sum of the row's weights)
//
// LANES scores a cycle. A row is read from its begin on; its bytes are written behind that, so that no weight lies where
// a score is still to be read. The next instruction starts when the last byte and the last state have been written.
// Ports: a unit's (docs/rtl.md); `score` reads LANES scores or fewer, whole granules, and writes as many weights;
// `state` reads the largest score of a row and writes mantissa and exponent of its sum's reciprocal, in order of rows.
module softmax_unit
  import edgemtl_isa_pkg::*;
#(
    parameter int unsigned LANES   = 64,
    parameter int unsigned COLUMNS = 32,  // bytes of a granule
    localparam int unsigned READ   = 2 * LANES / COLUMNS,
    localparam int unsigned WRITE  = LANES / COLUMNS
) (
    input  logic                       clk,
    input  logic                       reset,
    input  logic                       start_valid,
    output logic                       start_ready,
    input  word_t                      start_word,
    output logic                       done,
    output logic                       score_read_valid,
    input  logic                       score_read_ready,
    output logic [2:0]                 score_region,       // of all four ports
    output logic [16:0]                score_read_granule,
    output logic [$clog2(READ+1)-1:0]  score_read_count,
    input  logic                       score_data_valid,
    input  logic [LANES*16-1:0]        score_data,
    output logic                       score_write_valid,
    input  logic                       score_write_ready,
    output logic [16:0]                score_write_granule,
    output logic [LANES*8-1:0]         score_write_data,
    output logic [LANES-1:0]           score_write_mask,
    output logic                       state_read_valid,
    input  logic                       state_read_ready,
    output logic [10:0]                state_read_row,
    input  logic                       state_data_valid,
    input  logic [15:0]                state_largest,
    output logic                       state_write_valid,
    input  logic                       state_write_ready,
    output logic [10:0]                state_write_row,
    output logic [16:0]                state_mantissa,
    output logic [4:0]                 state_exponent
);
  if (LANES % COLUMNS != 0 || LANES < 2) begin : g_sizes
    $fatal(1, "LANES must be whole granules of weights");
  end

  localparam int unsigned BEATS = 32;      // beats between the request of their scores and the write of their weights
  localparam int unsigned ROWS = 64;       // rows between the request of their scores and the write of their state
  localparam int unsigned AHEAD = 8;       // largest scores read ahead
  localparam int unsigned EXP2 = 4;
  localparam int unsigned TREE = $clog2(LANES);
  localparam int unsigned DIVIDE = 19;
  localparam int unsigned SUM = 19;        // 255 * 2,048 keys
  localparam int unsigned COUNT = $clog2(LANES + 1);

  typedef struct packed {
    logic             first;
    logic             last;
    logic [COUNT-1:0] lanes;
    logic [16:0]      granule;
    logic [10:0]      row;
  } beat_t;

  // The instruction.
  logic busy;
  logic [11:0] stride;
  logic [12:0] rows;
  logic [13:0] keys;
  assign start_ready = !busy;

  // Largest scores, asked for row by row.
  logic [12:0] asked;
  logic [$clog2(AHEAD+1)-1:0] ahead;  // asked for and not used up
  logic largest_valid, row_ends, sends;
  logic signed [15:0] largest;
  assign state_read_valid = busy && asked != rows && ahead != $clog2(AHEAD + 1)'(AHEAD);
  assign state_read_row   = asked[10:0];

  /* verilator lint_off PINCONNECTEMPTY */
  fifo #(
      .WIDTH(16),
      .DEPTH(AHEAD)
  ) largest_scores (
      .clk,
      .reset,
      .in_valid (state_data_valid),
      .in_ready (),
      .in_data  (state_largest),
      .out_valid(largest_valid),
      .out_ready(row_ends),
      .out_data (largest)
  );

  // Beats of the rows.
  logic [12:0] row;
  logic [13:0] left;  // keys of the row from this beat on
  logic [16:0] row_granule, read_granule, write_granule;
  logic [$clog2(BEATS+1)-1:0] beats;
  logic [$clog2(ROWS+1)-1:0] states;
  logic [COUNT:0] tail;  // bytes of the last scores of a row
  logic beat_written, state_written, begins, ends;
  beat_t beat, arrived;

  assign begins = left == keys;
  assign ends = left <= 14'(LANES);
  assign tail = {left[COUNT-1:0], 1'b0};
  assign score_read_valid = busy && row != rows && largest_valid && beats != $clog2(BEATS + 1)'(BEATS) &&
                            states != $clog2(ROWS + 1)'(ROWS);
  assign score_read_granule = read_granule;
  assign score_read_count = ends ? $clog2(READ + 1)'((32'(tail) + COLUMNS - 1) / COLUMNS) : $clog2(READ + 1)'(READ);
  assign sends = score_read_valid && score_read_ready;
  assign row_ends = sends && ends;
  assign beat = '{begins, ends, ends ? COUNT'(left) : COUNT'(LANES), write_granule, row[10:0]};

  logic signed [15:0] subtracted;
  fifo #(
      .WIDTH($bits(beat_t) + 16),
      .DEPTH(BEATS)
  ) asked_beats (
      .clk,
      .reset,
      .in_valid (sends),
      .in_ready (),
      .in_data  ({beat, largest}),
      .out_valid(),
      .out_ready(score_data_valid),
      .out_data ({arrived, subtracted})
  );

  // Weights.
  logic [EXP2:1] weighed;
  beat_t of_weights;
  logic [LANES*8-1:0] weights;
  logic [LANES-1:0] mask;
  logic [LANES*9-1:0] terms;

  for (genvar i = 0; i < LANES; i++) begin : g_lane
    logic [7:0] weight;
    exp2 lane (
        .clk,
        .largest(subtracted),
        .score(score_data[i*16+:16]),
        .weight
    );
    assign mask[i] = COUNT'(i) < of_weights.lanes;
    assign weights[i*8+:8] = weight;
    assign terms[i*9+:9] = {1'b0, mask[i] ? weight : 8'd0};
  end
  delay #(
      .BITS($bits(beat_t)),
      .CYCLES(EXP2)
  ) to_weights (
      .clk,
      .in (arrived),
      .out(of_weights)
  );

  fifo #(
      .WIDTH(17 + LANES * 9),
      .DEPTH(BEATS)
  ) results (
      .clk,
      .reset,
      .in_valid (weighed[EXP2]),
      .in_ready (),
      .in_data  ({of_weights.granule, mask, weights}),
      .out_valid(score_write_valid),
      .out_ready(score_write_ready),
      .out_data ({score_write_granule, score_write_mask, score_write_data})
  );
  assign beat_written = score_write_valid && score_write_ready;

  // Sums.
  logic [TREE+8:0] partial;
  logic [TREE:1] added;
  logic [SUM-1:0] sum, total;
  logic sum_first, sum_last, total_valid;
  logic [10:0] sum_row, total_row, divided_row;
  logic [DIVIDE:1] divided;

  adder_tree #(
      .TERMS(LANES),
      .BITS (9)
  ) tree (
      .clk,
      .terms,
      .sum(partial)
  );
  delay #(
      .BITS(13),
      .CYCLES(TREE)
  ) to_sums (
      .clk,
      .in ({of_weights.first, of_weights.last, of_weights.row}),
      .out({sum_first, sum_last, sum_row})
  );
  assign total = SUM'(partial) + (sum_first ? '0 : sum);

  logic [SUM-1:0] divisor;
  logic [16:0] mantissa;
  logic [4:0] exponent;
  reciprocal #(
      .BITS(SUM)
  ) divide (
      .clk,
      .value(divisor),
      .mantissa,
      .exponent
  );
  delay #(
      .BITS(11),
      .CYCLES(DIVIDE)
  ) to_states (
      .clk,
      .in (total_row),
      .out(divided_row)
  );
  fifo #(
      .WIDTH(33),
      .DEPTH(ROWS)
  ) reciprocals (
      .clk,
      .reset,
      .in_valid (divided[DIVIDE]),
      .in_ready (),
      .in_data  ({divided_row, mantissa, exponent}),
      .out_valid(state_write_valid),
      .out_ready(state_write_ready),
      .out_data ({state_write_row, state_mantissa, state_exponent})
  );
  /* verilator lint_on PINCONNECTEMPTY */
  assign state_written = state_write_valid && state_write_ready;

  /* verilator lint_off UNUSEDSIGNAL */
  softmax_t word;  // its masks are the sequencer's
  /* verilator lint_on UNUSEDSIGNAL */
  assign word = softmax_t'(start_word);

  always_ff @(posedge clk) begin
    weighed <= {weighed[EXP2-1:1], score_data_valid};
    added   <= {added[TREE-1:1], weighed[EXP2]};
    if (added[TREE]) sum <= total;
    divisor     <= total;
    total_row   <= sum_row;
    total_valid <= added[TREE] && sum_last;
    divided     <= {divided[DIVIDE-1:1], total_valid};

    asked  <= asked + 13'(state_read_valid && state_read_ready);
    ahead  <= ahead + $bits(ahead)'(state_read_valid && state_read_ready) - $bits(ahead)'(row_ends);
    beats  <= beats + $bits(beats)'(sends) - $bits(beats)'(beat_written);
    states <= states + $bits(states)'(sends && begins) - $bits(states)'(state_written);
    if (sends) begin
      left          <= ends ? keys : left - 14'(LANES);
      read_granule  <= ends ? row_granule + 17'(stride) : read_granule + 17'(READ);
      write_granule <= ends ? row_granule + 17'(stride) : write_granule + 17'(WRITE);
      if (ends) begin
        row         <= row + 1'b1;
        row_granule <= row_granule + 17'(stride);
      end
    end
    done <= busy && row == rows && beats == '0 && states == '0 && !done;
    if (done) busy <= 1'b0;

    if (start_valid && start_ready) begin
      busy <= 1'b1;
      {asked, row} <= '0;
      score_region <= word.src_region;
      {row_granule, read_granule, write_granule} <= {3{word.src}};
      stride <= word.stride;
      rows   <= word.rows;
      keys   <= word.count;
      left   <= word.count;
    end
    if (reset) {busy, done, weighed, added, total_valid, divided, ahead, beats, states} <= '0;
  end
endmodule
