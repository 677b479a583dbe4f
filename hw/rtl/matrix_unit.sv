// The matrix unit: LINEAR with weights of 8 bits from the ring, SCORES and MIX.
//
// Instructions: `ahead`: start_word is the next one, whose weights may be loaded; it starts where start_valid and
//      start_ready. done: for a cycle, the oldest that started has ended, its last result is written; release_lines
//      leave the ring with it.
// Router: what an instruction with a slot works on is asked with entry_ask when its credits are there, and known where
//      entry_here: whether there is entry entry_index, and how many tokens it has. `walk` and `token` as in `gather_rows`.
// Ports: `weight` reads the ring, in granules from its begin; `value` the values of MIX, granules value_read_stride apart;
//      `key` the keys of SCORES, `row` the rows, `add` the residual, `state` the reciprocal of row state_read_row of the
//      scores in state_read_region. `write` writes results: for each of write_rows rows, write_stride granules apart, the
//      lower or both of its two granules, as write_mask says, a bit a byte. `largest` writes largest scores to the state
//      of largest_rows rows from largest_row on. Requests, writes and data may wait for any number of cycles.
//
// A row takes a cycle. From its bytes at the array to its result at the port: 12 cycles in the array, max(2, levels) + 1
// in the accumulators, 10 in the finish, one in the queue of results. A row enters only where the queue has room for its
// result, and its residual or scale is here, so nothing between the array and the queue ever waits. A tile takes
// max(rows, LEAST_TILE, beats of the next tile) cycles.
module matrix_unit
  import edgemtl_isa_pkg::*;
  import matrix_pkg::*;
#(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned LANES     = 2,     // granules of values that are read a cycle
    parameter int unsigned HEADS     = 2,     // most heads of SCORES
    parameter int unsigned DEPTH     = 512,   // rows of the accumulators
    parameter bit          CELLS     = 1'b0,
    localparam int unsigned LOAD     = LOAD_ROWS * COLUMNS,
    localparam int unsigned RING     = 17 + $clog2(LINE_BYTES / COLUMNS)
) (
    input  logic                             clk,
    input  logic                             reset,
    input  logic [16:0]                      ring_lines,
    input  logic                             ahead,
    input  logic                             start_valid,
    output logic                             start_ready,
    input  word_t                            start_word,
    output logic                             done,
    output logic [16:0]                      release_lines,
    output logic                             entry_ask,
    output logic [13:0]                      entry_index,
    input  logic                             entry_here,
    input  logic                             entry_present,
    input  logic [13:0]                      entry_count,
    output logic                             walk_valid,
    input  logic                             walk_ready,
    output logic [13:0]                      walk_entry,
    output logic [12:0]                      walk_skip,
    output logic [10:0]                      walk_rows,
    input  logic                             token_valid,
    output logic                             token_ready,
    input  logic [12:0]                      token,
    output logic                             weight_read_valid,
    input  logic                             weight_read_ready,
    output logic [RING-1:0]                  weight_read_granule,
    output logic [$clog2(LOAD_ROWS+1)-1:0]   weight_read_count,
    input  logic                             weight_data_valid,
    input  logic [LOAD*8-1:0]                weight_data,
    output logic                             value_read_valid,
    input  logic                             value_read_ready,
    output logic [2:0]                       value_read_region,
    output logic [16:0]                      value_read_granule,
    output logic [11:0]                      value_read_stride,
    output logic [$clog2(LANES+1)-1:0]       value_read_count,
    input  logic                             value_data_valid,
    input  logic [LANES*COLUMNS*8-1:0]       value_data,
    output logic                             key_read_valid,
    input  logic                             key_read_ready,
    output logic [2:0]                       key_read_region,
    output logic [16:0]                      key_read_granule,
    output logic [$clog2(ROWS/COLUMNS+1)-1:0] key_read_count,
    input  logic                             key_data_valid,
    input  logic [ROWS*8-1:0]                key_data,
    output logic                             row_read_valid,
    input  logic                             row_read_ready,
    output logic [2:0]                       row_read_region,
    output logic [16:0]                      row_read_granule,
    output logic [$clog2(ROWS/COLUMNS+1)-1:0] row_read_count,
    input  logic                             row_data_valid,
    input  logic [ROWS*8-1:0]                row_data,
    output logic                             add_read_valid,
    input  logic                             add_read_ready,
    output logic [2:0]                       add_read_region,
    output logic [16:0]                      add_read_granule,
    input  logic                             add_data_valid,
    input  logic [COLUMNS*16-1:0]            add_data,
    output logic                             state_read_valid,
    input  logic                             state_read_ready,
    output logic [2:0]                       state_read_region,
    output logic [10:0]                      state_read_row,
    input  logic                             state_data_valid,
    input  logic [16:0]                      state_mantissa,
    input  logic [4:0]                       state_exponent,
    output logic                             write_valid,
    input  logic                             write_ready,
    output logic [2:0]                       write_region,
    output logic [16:0]                      write_granule,
    output logic [1:0]                       write_rows,
    output logic [11:0]                      write_stride,
    output logic [HEADS*COLUMNS*16-1:0]      write_data,
    output logic [HEADS*COLUMNS*2-1:0]       write_mask,
    output logic                             largest_valid,
    input  logic                             largest_ready,
    output logic [2:0]                       largest_region,
    output logic [10:0]                      largest_row,
    output logic [1:0]                       largest_rows,
    output logic [HEADS*16-1:0]              largest_scores
);
  localparam int unsigned WIDTH = $clog2(ROWS + 1);
  localparam int unsigned FETCHED = 16;  // rows on their way or waiting: the latency of a memory and more
  localparam int unsigned FLIGHT = 64;   // rows between the array and the port, and residuals
  localparam int unsigned ENTRIES = 16;  // instructions between start and done

  typedef struct packed {
    logic             swap;
    logic [WIDTH-1:0] depth;
    row_t             tag;
  } step_t;

  typedef struct packed {
    logic        empty;
    logic        scores;
    logic [16:0] lines;
  } entry_t;

  typedef struct packed {
    logic                  ends;
    logic                  wide;
    logic [2:0]            region;
    logic [16:0]           granule;
    logic [1:0]            rows;
    logic [11:0]           stride;
    logic [HEADS*COLUMNS*16-1:0] data;
  } result_t;

  typedef struct packed {
    logic                ends;
    logic [2:0]          region;
    logic [10:0]         row;
    logic [1:0]          rows;
  } state_t;

  // The next instruction; with a slot, the rows that its entry leaves it. Weights of the ring are loaded as soon as it can
  // be seen, or its entry is known; it starts after that.
  layer_t given, layer;
  logic known, present, looked, looks_at, look_ready, loads_ready, walk_starts, gathers_ready, starts;
  logic [10:0] entry_rows;
  logic [13:0] behind;  // tokens from skip on
  assign given       = layer_of(start_word);
  assign entry_ask   = start_valid && given.slot != '0 && !known;
  assign entry_index = given.slot - 14'd1;
  assign behind      = entry_count > 14'(given.skip) ? entry_count - 14'(given.skip) : '0;

  always_ff @(posedge clk) begin
    if (entry_ask && entry_here) begin
      known      <= 1'b1;
      present    <= entry_present;
      entry_rows <= !entry_present ? '0 : behind < 14'(given.rows) ? 11'(behind) : given.rows;
    end
    if (starts || reset) known <= 1'b0;
  end
  always_comb begin
    layer = given;
    if (given.slot != '0) begin
      layer.rows = entry_rows;
      if (!present) layer.release_ = '0;
    end
  end
  assign start_ready = looked && walk_starts && loads_ready && gathers_ready;
  assign starts      = start_valid && start_ready;
  assign looks_at    = ahead && !looked && (given.slot == '0 || known);

  always_ff @(posedge clk) begin
    if (starts) looked <= 1'b0;
    else if (looks_at && look_ready) looked <= 1'b1;
    if (reset) looked <= 1'b0;
  end

  logic tile_ready, swap, table_valid, table_busy, table_late, column_valid, weights_valid, bias_valid;
  logic [1:0] table_free;
  logic [BANK-1:0] beat_bank, bias_bank;
  beat_t beat;
  logic [LOAD*8-1:0] beat_data;
  logic [COLUMNS*27-1:0] bias_data;
  weight_load #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .LOAD_ROWS(LOAD_ROWS),
      .LANES(LANES),
      .TURNS(2 * ENTRIES)
  ) loads (
      .clk,
      .reset,
      .ring_lines,
      .look_valid(looks_at),
      .look_ready,
      .start_valid(starts),
      .start_ready(loads_ready),
      .layer,
      .weight_read_valid,
      .weight_read_ready,
      .weight_read_granule,
      .weight_read_count,
      .weight_data_valid,
      .weight_data,
      .value_read_valid,
      .value_read_ready,
      .value_read_region,
      .value_read_granule,
      .value_read_stride,
      .value_read_count,
      .value_data_valid,
      .value_data,
      .key_read_valid,
      .key_read_ready,
      .key_read_region,
      .key_read_granule,
      .key_read_count,
      .key_data_valid,
      .key_data,
      .swap,
      .tile_ready,
      .table_free,
      .table_valid,
      .column_valid,
      .weights_valid,
      .beat,
      .beat_bank,
      .beat_data,
      .bias_valid,
      .bias_bank,
      .bias_data
  );

  // Rows of the instructions that have started.
  logic entry_ready, entry_valid;
  entry_t entry;
  logic step_valid, step_ready, fetch_room, steps_ready, adds_ready, scales_ready;
  step_t step, arrived;
  logic [2:0] add_region;
  logic [16:0] add_granule, scale_mul;
  logic [10:0] scale_row;
  logic [5:0] scale_shift;

  logic gather_turn, gather_here;
  logic [10:0] gather_row;
  logic [16:0] gather_granule;
  gather_rows #(.DEPTH(DEPTH)) gathers (
      .clk,
      .reset,
      .start_valid(starts && layer.gather && layer.rows != '0),
      .start_ready(gathers_ready),
      .layer,
      .walk_valid,
      .walk_ready,
      .walk_entry,
      .walk_skip,
      .walk_rows,
      .token_valid,
      .token_ready,
      .token,
      .turn(gather_turn),
      .row(gather_row),
      .here(gather_here),
      .granule(gather_granule)
  );

  row_walk #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS)
  ) walk (
      .clk,
      .reset,
      .start_valid(starts),
      .start_ready(walk_starts),
      .layer,
      .entry_ready,
      .entry_valid,
      .entry_empty(entry.empty),
      .entry_scores(entry.scores),
      .entry_release(entry.lines),
      .gather_turn,
      .gather_row,
      .gather_here,
      .gather_granule,
      .step_valid,
      .step_ready,
      .step_swap(step.swap),
      .step_region(row_read_region),
      .step_granule(row_read_granule),
      .step_depth(step.depth),
      .step_tag(step.tag),
      .add_region,
      .add_granule,
      .scale_row,
      .scale_mul,
      .scale_shift
  );

  logic asks_may;
  assign asks_may       = fetch_room && adds_ready && scales_ready;
  assign row_read_valid = step_valid && asks_may;
  assign step_ready     = row_read_ready && asks_may;
  assign row_read_count = $bits(row_read_count)'((32'(step.depth) + COLUMNS - 1) / COLUMNS);

  // Bytes of rows, and residuals, that have come.
  logic asks, issues, row_there, step_there;
  logic [ROWS*8-1:0] row_bytes;
  logic [$clog2(FETCHED+1)-1:0] fetched;
  assign asks       = row_read_valid && row_read_ready;
  assign fetch_room = 32'(fetched) != FETCHED;
  always_ff @(posedge clk) fetched <= reset ? '0 : fetched + $bits(fetched)'(asks) - $bits(fetched)'(issues);

  fifo #(.WIDTH($bits(step_t)), .DEPTH(FETCHED)) steps (
      .clk,
      .reset,
      .in_valid(asks),
      .in_ready(steps_ready),
      .in_data(step),
      .out_valid(step_there),
      .out_ready(issues),
      .out_data(arrived)
  );
  logic rows_ready;
  fifo #(.WIDTH(ROWS * 8), .DEPTH(FETCHED)) rows (
      .clk,
      .reset,
      .in_valid(row_data_valid),
      .in_ready(rows_ready),
      .in_data(row_data),
      .out_valid(row_there),
      .out_ready(issues),
      .out_data(row_bytes)
  );

  // Residuals, and scales of rows.
  logic issues_last, residual_available, residual_take, scale_available, scale_take, scaled;
  logic [COLUMNS*16-1:0] residual;
  logic [22:0] scale, scale_in;
  prefetch #(
      .ADDRESS(20),
      .DATA(COLUMNS * 16),
      .DEPTH(FLIGHT)
  ) residuals (
      .clk,
      .reset,
      .ask_valid(asks && step.tag.last && step.tag.how.residual),
      .ask_ready(adds_ready),
      .ask_address({add_region, add_granule}),
      .read_valid(add_read_valid),
      .read_ready(add_read_ready),
      .read_address({add_read_region, add_read_granule}),
      .data_valid(add_data_valid),
      .data_in(add_data),
      .available(residual_available),
      .enter(issues_last && arrived.tag.how.residual),
      .take(residual_take),
      .data(residual)
  );

  logic factor_valid, factors_fit;
  logic [16:0] factor_mul, asked_mul;
  logic [5:0] factor_shift, asked_shift;
  prefetch #(
      .ADDRESS(37),
      .DATA(23),
      .DEPTH(FLIGHT)
  ) scales (
      .clk,
      .reset,
      .ask_valid(asks && step.tag.last && step.tag.how.source == FROM_VALUES),
      .ask_ready(scales_ready),
      .ask_address({row_read_region, scale_row, scale_mul, scale_shift}),
      .read_valid(state_read_valid),
      .read_ready(state_read_ready),
      .read_address({state_read_region, state_read_row, asked_mul, asked_shift}),
      .data_valid(scaled),
      .data_in(scale_in),
      .available(scale_available),
      .enter(issues_last && arrived.tag.how.source == FROM_VALUES),
      .take(scale_take),
      .data(scale)
  );
  fifo #(.WIDTH(23), .DEPTH(FLIGHT)) factors (
      .clk,
      .reset,
      .in_valid(state_read_valid && state_read_ready),
      .in_ready(factors_fit),
      .in_data({asked_mul, asked_shift}),
      .out_valid(factor_valid),
      .out_ready(state_data_valid),
      .out_data({factor_mul, factor_shift})
  );
  row_scale scaling (
      .clk,
      .reset,
      .in_valid(state_data_valid),
      .mantissa(state_mantissa),
      .exponent(state_exponent),
      .mul(factor_mul),
      .shift(factor_shift),
      .out_valid(scaled),
      .scale(scale_in)
  );

  // A row enters the array.
  logic values_valid, largest_there;
  logic [HEADS*COLUMNS*16-1:0] values;
  logic [HEADS*16-1:0] largest;
  logic [1:0] rest;  // cycles until a tile may begin: the accumulators have a row again after LEAST_TILE
  logic [$clog2(FLIGHT+1)-1:0] flight;
  logic result_room, states_room, written, may_enter;
  logic [5:0] lookers[2];  // rows on their way to each table
  logic looks, looked_up;
  /* verilator lint_off UNUSEDSIGNAL */
  row_t finished, compared;  // what their sums needed on the way is used up
  /* verilator lint_on UNUSEDSIGNAL */

  assign result_room = 32'(flight) != FLIGHT;
  assign issues = step_there && row_there
      && (!arrived.swap || (tile_ready && rest == '0 && !(arrived.tag.how.table_ && table_late)))
      && (!arrived.tag.last || may_enter);
  assign may_enter = result_room && (!arrived.tag.how.residual || residual_available)
      && (arrived.tag.how.source != FROM_VALUES || scale_available) && states_room;
  assign issues_last = issues && arrived.tag.last;
  assign swap  = issues && arrived.swap;
  assign looks = issues_last && arrived.tag.how.table_;

  always_ff @(posedge clk) begin
    if (issues) rest <= 2'(arrived.tag.row < 11'(CYCLES_LEAST_TILE) ? CYCLES_LEAST_TILE - 1 - 32'(arrived.tag.row) : 0);
    else if (rest != '0) rest <= rest - 2'd1;
    flight <= flight + $bits(flight)'(issues_last) - $bits(flight)'(written);
    for (int t = 0; t < 2; t++)
      lookers[t] <= lookers[t] + 6'(looks && arrived.tag.how.which == t[0])
          - 6'(looked_up && finished.how.which == t[0]);
    if (reset) begin
      rest <= '0;
      flight <= '0;
      lookers[0] <= '0;
      lookers[1] <= '0;
    end
  end
  for (genvar t = 0; t < 2; t++) begin : g_table
    assign table_free[t] = !table_busy && lookers[t] == '0;
  end

  // Bytes behind a tile's depth are padding: there old weights work. Weights of attention are p - 128.
  logic [ROWS*8-1:0] masked;
  for (genvar j = 0; j < ROWS; j++) begin : g_mask
    assign masked[j*8+:8] = j >= 32'(arrived.depth) ? '0
        : row_bytes[j*8+:8] ^ {arrived.tag.how.source == FROM_VALUES, 7'd0};
  end

  row_pipeline #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .LOAD_ROWS(LOAD_ROWS),
      .HEADS(HEADS),
      .DEPTH(DEPTH),
      .CELLS(CELLS)
  ) pipeline (
      .clk,
      .reset,
      .table_valid,
      .column_valid,
      .weights_valid,
      .beat,
      .beat_bank,
      .beat_data,
      .bias_valid,
      .bias_bank,
      .bias_data,
      .table_busy,
      .table_late,
      .row_valid(issues),
      .row_swap(arrived.swap),
      .row_data(masked),
      .row_tag(arrived.tag),
      .residual_take,
      .residual,
      .scale_take,
      .scale,
      .value_valid(values_valid),
      .value_tag(finished),
      .value_data(values),
      .largest_valid(largest_there),
      .largest_tag(compared),
      .largest_scores(largest)
  );
  assign looked_up = values_valid && finished.how.table_;

  // Results, in order.
  result_t value, result;
  logic results_ready;
  assign value = '{
          ends: finished.ends,
          wide: finished.how.wide && (finished.how.source != FROM_KEYS || 32'(finished.columns) > COLUMNS / 2),
          region: finished.region,
          granule: finished.granule,
          rows: finished.how.source == FROM_KEYS ? finished.how.heads : 2'd1,
          stride: finished.head,
          data: values
      };
  fifo #(.WIDTH($bits(result_t)), .DEPTH(FLIGHT)) results (
      .clk,
      .reset,
      .in_valid(values_valid),
      .in_ready(results_ready),
      .in_data(value),
      .out_valid(write_valid),
      .out_ready(write_ready),
      .out_data(result)
  );
  assign written       = write_valid && write_ready;
  assign write_region  = result.region;
  assign write_granule = result.granule;
  assign write_data    = result.data;
  assign write_rows    = result.rows;
  assign write_stride  = result.stride;
  for (genvar h = 0; h < HEADS; h++) begin : g_mask_of_head
    assign write_mask[h*COLUMNS*2+:COLUMNS*2] =
        h < 32'(result.rows) ? {{COLUMNS{result.wide}}, {COLUMNS{1'b1}}} : '0;
  end

  // Largest scores.
  logic largests_ready, state_ends;
  state_t new_state, oldest_state;
  logic [$clog2(FLIGHT+1)-1:0] states;
  assign new_state = '{ends: compared.ends, region: compared.region, row: compared.state, rows: compared.how.heads};
  assign states_room = 32'(states) != FLIGHT;
  fifo #(.WIDTH($bits(state_t) + HEADS * 16), .DEPTH(FLIGHT)) row_states (
      .clk,
      .reset,
      .in_valid(largest_there),
      .in_ready(largests_ready),
      .in_data({new_state, largest}),
      .out_valid(largest_valid),
      .out_ready(largest_ready),
      .out_data({oldest_state, largest_scores})
  );
  assign largest_region = oldest_state.region;
  assign largest_row    = oldest_state.row;
  assign largest_rows   = oldest_state.rows;
  assign state_ends     = largest_valid && largest_ready && oldest_state.ends;
  always_ff @(posedge clk)
    states <= reset ? '0 : states
        + $bits(states)'(issues_last && arrived.tag.how.source == FROM_KEYS && arrived.tag.closes)
        - $bits(states)'(largest_valid && largest_ready);

  // Instructions end in order; one without rows when it is the oldest.
  entry_t oldest;
  logic oldest_valid, ended;
  fifo #(.WIDTH($bits(entry_t)), .DEPTH(ENTRIES)) entries (
      .clk,
      .reset,
      .in_valid(entry_valid),
      .in_ready(entry_ready),
      .in_data(entry),
      .out_valid(oldest_valid),
      .out_ready(ended),
      .out_data(oldest)
  );
  // Last results, and last states, of instructions that have not ended.
  logic [$clog2(ENTRIES+1)-1:0] results_ended, states_ended;
  assign ended = oldest_valid
      && (oldest.empty || (results_ended != '0 && (!oldest.scores || states_ended != '0)));
  always_ff @(posedge clk) begin
    results_ended <= results_ended + $bits(results_ended)'(written && result.ends)
        - $bits(results_ended)'(ended && !oldest.empty);
    states_ended <= states_ended + $bits(states_ended)'(state_ends)
        - $bits(states_ended)'(ended && !oldest.empty && oldest.scores);
    if (reset) {results_ended, states_ended} <= '0;
  end
  always_ff @(posedge clk) begin
    done          <= ended && !reset;
    release_lines <= oldest.lines;
  end

`ifndef SYNTHESIS
  // Nothing between fixed pipelines may overflow.
  always_ff @(posedge clk)
    if (!reset && ((asks && !steps_ready) || (row_data_valid && !rows_ready) || (values_valid && !results_ready)
        || (largest_there && !largests_ready) || (state_read_valid && state_read_ready && !factors_fit)
        || (state_data_valid && !factor_valid)))
      $fatal(1, "a queue of the matrix unit overflowed");
`endif
endmodule
