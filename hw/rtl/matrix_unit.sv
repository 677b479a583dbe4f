// The matrix unit: LINEAR with weights of 8 bits from the ring, without a slot.
//
// Instructions: `ahead`: start_word is the next one, whose weights may be loaded; it starts where start_valid and
//      start_ready. done: for a cycle, the oldest that started has ended, its last result is written; release_lines
//      leave the ring with it.
// Ports: `weight` reads the ring, in granules from its begin; `row` the rows, `add` the residual, `write` writes results.
//      Requests and writes may wait for any number of cycles, and so may data; with write_mask, a bit a byte, the lower
//      or both granules are written.
//
// A row takes a cycle. From its bytes at the array to its result at the port: 12 cycles in the array, max(2, levels) + 1
// in the accumulators, 10 in the finish, one in the queue of results. A row enters only where the queue has room for its
// result and its residual is here, so nothing between the array and the queue ever waits. A tile takes
// max(rows, LEAST_TILE, beats of the next tile) cycles.
module matrix_unit
  import edgemtl_isa_pkg::*;
  import matrix_pkg::*;
#(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
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
    output logic                             weight_read_valid,
    input  logic                             weight_read_ready,
    output logic [RING-1:0]                  weight_read_granule,
    output logic [$clog2(LOAD_ROWS+1)-1:0]   weight_read_count,
    input  logic                             weight_data_valid,
    input  logic [LOAD*8-1:0]                weight_data,
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
    output logic                             write_valid,
    input  logic                             write_ready,
    output logic [2:0]                       write_region,
    output logic [16:0]                      write_granule,
    output logic [COLUMNS*16-1:0]            write_data,
    output logic [COLUMNS*2-1:0]             write_mask
);
  localparam int unsigned CHAINS = ROWS / 8;
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
    logic [16:0] lines;
  } entry_t;

  typedef struct packed {
    logic                  ends;
    logic                  wide;
    logic [2:0]            region;
    logic [16:0]           granule;
    logic [COLUMNS*16-1:0] data;
  } result_t;

  // Weights of the next instruction, as soon as it can be seen.
  logic looked, loader_ready, tile_ready, swap;
  logic table_valid, table_which, table_busy, table_late, column_valid, weights_valid;
  logic [1:0] table_free;
  logic [3:0] column_bank;
  localparam int unsigned MOST = ROWS > 256 / COLUMNS ? ROWS : 256 / COLUMNS;
  localparam int unsigned BEAT = $clog2((MOST + LOAD_ROWS - 1) / LOAD_ROWS + 1);
  logic [BEAT-1:0] beat;
  logic [LOAD*8-1:0] beat_data;
  logic starts;
  assign starts = start_valid && start_ready;

  always_ff @(posedge clk) begin
    if (starts) looked <= 1'b0;
    else if (ahead && loader_ready) looked <= 1'b1;
    if (reset) looked <= 1'b0;
  end

  loader #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .LOAD_ROWS(LOAD_ROWS),
      .BANKS(BANKS)
  ) load (
      .clk,
      .reset,
      .ring_lines,
      .word_valid(ahead && !looked),
      .word_ready(loader_ready),
      .word(start_word),
      .read_valid(weight_read_valid),
      .read_ready(weight_read_ready),
      .read_granule(weight_read_granule),
      .read_count(weight_read_count),
      .data_valid(weight_data_valid),
      .data(weight_data),
      .swap,
      .tile_ready,
      .table_free,
      .table_valid,
      .table_which,
      .column_valid,
      .column_bank,
      .weights_valid,
      .beat,
      .beat_data
  );

  // Rows of the instructions that have started.
  logic walk_ready, entry_ready, entry_valid;
  entry_t entry;
  logic step_valid, step_ready, fetch_room, steps_ready, adds_ready;
  step_t step, arrived;
  logic [2:0] add_region;
  logic [16:0] add_granule;
  // An instruction starts only after the loader has seen it.
  assign start_ready = walk_ready && looked;

  row_walk #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS)
  ) walk (
      .clk,
      .reset,
      .start_valid(start_valid && looked),
      .start_ready(walk_ready),
      .start_word,
      .entry_ready,
      .entry_valid,
      .entry_empty(entry.empty),
      .entry_release(entry.lines),
      .step_valid,
      .step_ready,
      .step_swap(step.swap),
      .step_region(row_read_region),
      .step_granule(row_read_granule),
      .step_depth(step.depth),
      .step_tag(step.tag),
      .add_region,
      .add_granule
  );

  assign row_read_valid = step_valid && fetch_room && adds_ready;
  assign step_ready     = row_read_ready && fetch_room && adds_ready;
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

  logic add_asked, add_request, residual_there, residual_take, residuals_ready;
  logic [COLUMNS*16-1:0] residual;
  logic [$clog2(FLIGHT+1)-1:0] add_count, add_here, add_due;  // asked or here; here; of rows that have entered
  logic add_room;
  assign add_room = 32'(add_count) != FLIGHT;
  fifo #(.WIDTH(20), .DEPTH(FETCHED)) adds (
      .clk,
      .reset,
      .in_valid(asks && step.tag.last && step.tag.how.residual),
      .in_ready(adds_ready),
      .in_data({add_region, add_granule}),
      .out_valid(add_request),
      .out_ready(add_asked),
      .out_data({add_read_region, add_read_granule})
  );
  assign add_read_valid = add_request && add_room;
  assign add_asked      = add_room && add_read_ready;
  fifo #(.WIDTH(COLUMNS * 16), .DEPTH(FLIGHT)) residuals (
      .clk,
      .reset,
      .in_valid(add_data_valid),
      .in_ready(residuals_ready),
      .in_data(add_data),
      .out_valid(residual_there),
      .out_ready(residual_take),
      .out_data(residual)
  );

  // A row enters the array.
  logic [1:0] rest;  // cycles until a tile may begin: the accumulators have a row again after LEAST_TILE
  logic [$clog2(FLIGHT+1)-1:0] flight;
  logic residual_here, result_room, written, adds_one;
  logic [5:0] lookers[2];  // rows on their way to each table
  logic looks, looked_up;
  /* verilator lint_off UNUSEDSIGNAL */
  row_t finished;  // what its sums needed on the way is used up
  /* verilator lint_on UNUSEDSIGNAL */

  assign result_room   = 32'(flight) != FLIGHT;
  assign residual_here = add_here > add_due;
  assign adds_one      = issues && arrived.tag.last && arrived.tag.how.residual;
  assign issues = step_there && row_there
      && (!arrived.swap || (tile_ready && rest == '0 && !(arrived.tag.how.table_ && table_late)))
      && (!arrived.tag.last || (result_room && (!arrived.tag.how.residual || residual_here)));
  assign swap  = issues && arrived.swap;
  assign looks = issues && arrived.tag.last && arrived.tag.how.table_;

  always_ff @(posedge clk) begin
    if (issues) rest <= 2'(arrived.tag.row < 11'(CYCLES_LEAST_TILE) ? CYCLES_LEAST_TILE - 1 - 32'(arrived.tag.row) : 0);
    else if (rest != '0) rest <= rest - 2'd1;
    flight    <= flight + $bits(flight)'(issues && arrived.tag.last) - $bits(flight)'(written);
    add_count <= add_count + $bits(add_count)'(add_read_valid && add_read_ready) - $bits(add_count)'(residual_take);
    add_here  <= add_here + $bits(add_here)'(add_data_valid) - $bits(add_here)'(residual_take);
    add_due   <= add_due + $bits(add_due)'(adds_one) - $bits(add_due)'(residual_take);
    for (int t = 0; t < 2; t++)
      lookers[t] <= lookers[t] + 6'(looks && arrived.tag.how.which == t[0])
          - 6'(looked_up && finished.how.which == t[0]);
    if (reset) begin
      rest <= '0;
      {flight, add_count, add_here, add_due} <= '0;
      lookers[0] <= '0;
      lookers[1] <= '0;
    end
  end
  for (genvar t = 0; t < 2; t++) begin : g_table
    assign table_free[t] = !table_busy && lookers[t] == '0;
  end

  // Bytes behind a tile's depth are padding: there old weights work.
  logic [ROWS*8-1:0] masked;
  for (genvar j = 0; j < ROWS; j++) begin : g_mask
    assign masked[j*8+:8] = j < 32'(arrived.depth) ? row_bytes[j*8+:8] : 8'd0;
  end

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
      .load_group($clog2(ROWS / LOAD_ROWS)'(beat)),
      .load_data(beat_data),
      .row_valid(issues),
      .row_swap(arrived.swap),
      .row_data(masked),
      .row_tag(arrived.tag),
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

  logic values_valid;
  logic [COLUMNS*16-1:0] values;
  finish #(
      .COLUMNS(COLUMNS),
      .LOAD(LOAD),
      .BANKS(BANKS),
      .TAG($bits(row_t))
  ) finishing (
      .clk,
      .reset,
      .column_valid,
      .column_bank,
      .column_beat($clog2((8 * COLUMNS + LOAD - 1) / LOAD + 1)'(beat)),
      .table_valid,
      .table_which,
      .table_beat($clog2((256 + LOAD - 1) / LOAD + 1)'(beat)),
      .load_data(beat_data),
      .table_busy,
      .table_late,
      .in_valid(totals_valid),
      .in_tag(totalled),
      .in_bank(totalled.bank),
      .in_wide(totalled.how.wide),
      .in_residual(totalled.how.residual),
      .in_table(totalled.how.table_),
      .in_which(totalled.how.which),
      .in_zero(totalled.how.zero),
      .in_low(totalled.how.low),
      .in_sums(totals),
      .residual_take,
      .residual,
      .out_valid(values_valid),
      .out_tag(finished),
      .out_data(values)
  );
  assign looked_up = values_valid && finished.how.table_;

  // Results, in order.
  result_t value, result;
  logic results_ready;
  assign value = '{
          ends: finished.ends,
          wide: finished.how.wide,
          region: finished.region,
          granule: finished.granule,
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
  assign write_mask    = {{COLUMNS{result.wide}}, {COLUMNS{1'b1}}};

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
  assign ended = oldest_valid && (oldest.empty || (written && result.ends));
  always_ff @(posedge clk) begin
    done          <= ended && !reset;
    release_lines <= oldest.lines;
  end

  // Nothing between fixed pipelines may overflow.
  always_ff @(posedge clk)
    if (!reset && ((asks && !steps_ready) || (row_data_valid && !rows_ready) || (add_data_valid && !residuals_ready)
        || (values_valid && !results_ready) || (residual_take && !residual_there)))
      $fatal(1, "a queue of the matrix unit overflowed");
endmodule
