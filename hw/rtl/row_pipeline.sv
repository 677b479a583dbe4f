// From rows to results: array, accumulators, finish. Nothing here waits.
//
// In:  a row at row_valid, row_swap with the first one of a tile, with its tag; beats of what is loaded, and biases.
//      residual and scale: of the oldest row that has not taken its own, taken with residual_take and scale_take.
// Out: value: the result of a row's last tile, COLUMNS values; of SCORES as many for each head, head i in slot i; largest:
//      of SCORES, with a row's last tile of keys, the largest score of each head, clog2(COLUMNS) + 2 cycles after that.
// A result comes 12 + max(2, clog2(CHAINS)) + 1 + 10 cycles after its row.
module row_pipeline
  import matrix_pkg::*;
#(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned HEADS     = 2,
    parameter int unsigned DEPTH     = 512,
    parameter bit          CELLS     = 1'b0,
    localparam int unsigned LOAD     = LOAD_ROWS * COLUMNS
) (
    input  logic                        clk,
    input  logic                        reset,
    input  logic                        table_valid,
    input  logic                        column_valid,
    input  logic                        weights_valid,
    /* verilator lint_off UNUSEDSIGNAL */
    input  beat_t                       beat,  // numbers have as many bits as the largest part of any array needs
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic [BANK-1:0]             beat_bank,
    input  logic [LOAD*8-1:0]           beat_data,
    input  logic                        bias_valid,
    input  logic [BANK-1:0]             bias_bank,
    input  logic [COLUMNS*27-1:0]       bias_data,
    output logic                        table_busy,
    output logic                        table_late,
    input  logic                        row_valid,
    input  logic                        row_swap,
    input  logic [ROWS*8-1:0]           row_data,
    input  row_t                        row_tag,
    output logic                        residual_take,
    input  logic [COLUMNS*16-1:0]       residual,
    output logic                        scale_take,
    input  logic [22:0]                 scale,
    output logic                        value_valid,
    output row_t                        value_tag,
    output logic [HEADS*COLUMNS*16-1:0] value_data,
    output logic                        largest_valid,
    output row_t                        largest_tag,
    output logic [HEADS*16-1:0]         largest_scores
);
  localparam int unsigned CHAINS = ROWS / 8;

  logic sums_valid, totals_valid;
  row_t summed, totalled;
  logic [CHAINS*COLUMNS*18-1:0] sums;
  logic [COLUMNS*27-1:0] totals;

  array #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .LOAD_ROWS(LOAD_ROWS),
      .TAG($bits(row_t)),
      .CELLS(CELLS)
  ) products (
      .clk,
      .reset,
      .load_valid(weights_valid),
      .load_group($clog2(ROWS / LOAD_ROWS)'(beat.number)),
      .load_data(beat_data),
      .row_valid,
      .row_swap,
      .row_data,
      .row_tag,
      .sum_valid(sums_valid),
      .sum_tag(summed),
      .sums
  );
  accumulators #(
      .CHAINS(CHAINS),
      .COLUMNS(COLUMNS),
      .DEPTH(DEPTH),
      .TAG($bits(row_t))
  ) add_up (
      .clk,
      .reset,
      .in_valid(sums_valid),
      .in_first(summed.first),
      .in_last(summed.last),
      .in_row($clog2(DEPTH)'(summed.row)),
      .in_tag(summed),
      .in_sums(sums),
      .out_valid(totals_valid),
      .out_tag(totalled),
      .out_sums(totals)
  );

  // Heads behind the first have lanes of their own.
  logic [COLUMNS*27-1:0] firsts;
  if (HEADS > 1) begin : g_heads
    logic [HEADS*COLUMNS*27-1:0] heads;
    head_sums #(
        .CHAINS(CHAINS),
        .COLUMNS(COLUMNS),
        .MOST(HEADS)
    ) of_heads (
        .clk,
        .in_heads(summed.how.heads),
        .in_sums(sums),
        .out_sums(heads)
    );
    assign firsts = totalled.how.source == FROM_KEYS && totalled.how.heads > 2'd1 ? heads[COLUMNS*27-1:0] : totals;
    for (genvar i = COLUMNS; i < HEADS * COLUMNS; i++) begin : g_lane
      score_lane lane (
          .clk,
          .sum(heads[i*27+:27]),
          .shift(totalled.how.shift),
          .score(value_data[i*16+:16])
      );
    end
  end else begin : g_head
    assign firsts = totals;
  end

  logic [COLUMNS*16-1:0] values;
  assign value_data[COLUMNS*16-1:0] = values;
  finish #(
      .COLUMNS(COLUMNS),
      .LOAD(LOAD),
      .BANKS(BANKS),
      .TAG($bits(row_t))
  ) finishing (
      .clk,
      .reset,
      .column_valid,
      .column_bank(beat_bank),
      .column_beat($clog2((8 * COLUMNS + LOAD - 1) / LOAD + 1)'(beat.number)),
      .table_valid,
      .table_which(beat.which),
      .table_beat($clog2((256 + LOAD - 1) / LOAD + 1)'(beat.number)),
      .load_data(beat_data),
      .bias_valid,
      .bias_bank,
      .bias_data,
      .table_busy,
      .table_late,
      .in_valid(totals_valid),
      .in_tag(totalled),
      .in_bank(totalled.bank),
      .in_by_row(totalled.how.source != FROM_RING),
      .in_scale(totalled.how.source == FROM_VALUES ? scale : {6'(totalled.how.shift) + 6'd16, 17'h10000}),
      .in_wide(totalled.how.wide),
      .in_residual(totalled.how.residual),
      .in_table(totalled.how.table_),
      .in_which(totalled.how.which),
      .in_zero(totalled.how.zero),
      .in_low(totalled.how.low),
      .in_sums(firsts),
      .residual_take,
      .residual,
      .out_valid(value_valid),
      .out_tag(value_tag),
      .out_data(values)
  );
  assign scale_take = totals_valid && totalled.how.source == FROM_VALUES;

  largest_scores #(
      .COLUMNS(COLUMNS),
      .HEADS(HEADS),
      .DEPTH(DEPTH),
      .TAG($bits(row_t))
  ) largests (
      .clk,
      .reset,
      .in_valid(value_valid && value_tag.how.source == FROM_KEYS),
      .in_opens(value_tag.opens),
      .in_closes(value_tag.closes),
      .in_row($clog2(DEPTH)'(value_tag.row)),
      .in_columns($clog2(COLUMNS + 1)'(value_tag.columns)),
      .in_tag(value_tag),
      .in_scores(value_data),
      .out_valid(largest_valid),
      .out_tag(largest_tag),
      .out_largest(largest_scores)
  );
endmodule
