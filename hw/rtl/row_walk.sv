// Walks the rows of instructions: where the bytes of each row of each tile lie, and what becomes of their sums.
//
// In:  layer, whose credits are there, at start_valid and start_ready. One waits while another is walked.
// Out: steps in the array's order, tiles of COLUMNS columns, in them tiles of ROWS bytes of k, in them rows; one a cycle
//      where step_ready, without a gap between tiles and instructions:
//        step_depth bytes from step_granule of step_region on, step_swap with the first row of a tile, the row's tag;
//        add_granule of add_region, the residual's granules where tag.last and tag.how.residual;
//        scale_row of the row state of step_region, and mul and shift, of a MIX where tag.last.
//      With gather, a row lies at gather_granule where gather_here, of row gather_row of the gather of gather_turn.
//      entry_valid: an instruction enters, with the lines that it releases when it ends; entry_empty: it has no rows and
//      no steps.
module row_walk
  import matrix_pkg::*;
#(
    parameter int unsigned ROWS    = 16,
    parameter int unsigned COLUMNS = 16,
    localparam int unsigned DEPTH  = $clog2(ROWS + 1)
) (
    input  logic             clk,
    input  logic             reset,
    input  logic             start_valid,
    output logic             start_ready,
    input  layer_t           layer,
    input  logic             entry_ready,
    output logic             entry_valid,
    output logic             entry_empty,
    output logic             entry_scores,
    output logic [16:0]      entry_release,
    output logic             gather_turn,
    output logic [10:0]      gather_row,
    input  logic             gather_here,
    input  logic [16:0]      gather_granule,
    output logic             step_valid,
    input  logic             step_ready,
    output logic             step_swap,
    output logic [2:0]       step_region,
    output logic [16:0]      step_granule,
    output logic [DEPTH-1:0] step_depth,
    output row_t             step_tag,
    output logic [2:0]       add_region,
    output logic [16:0]      add_granule,
    output logic [10:0]      scale_row,
    output logic [16:0]      scale_mul,
    output logic [5:0]       scale_shift
);
  localparam int unsigned SPAN = ROWS / COLUMNS;  // granules of a row of a full tile

  if (ROWS % COLUMNS != 0) begin : g_sizes
    $fatal(1, "ROWS must be whole granules of COLUMNS bytes");
  end

  /* verilator lint_off UNUSEDSIGNAL */
  layer_t next, now;  // the loaders read the other operands
  /* verilator lint_on UNUSEDSIGNAL */

  logic waits, active, take, go, row_ends, k_ends, ends;
  assign start_ready   = (!waits || take) && entry_ready;
  assign entry_valid   = start_valid && start_ready;
  assign entry_empty   = layer.rows == '0;
  assign entry_scores  = layer.source == FROM_KEYS;
  assign entry_release = layer.release_;

  always_ff @(posedge clk) begin
    if (take) waits <= 1'b0;
    if (entry_valid) begin
      next  <= layer;
      waits <= !entry_empty;
    end
    if (reset) waits <= 1'b0;
  end

  // The row, what is left of k and n from this tile on, and granules: of this row and of this tile's first.
  logic [10:0] row;
  logic [13:0] k_left;
  logic [12:0] n_left;
  logic [16:0] source, source_tile, k_granules;
  logic [16:0] place, place_tile;  // of the result, from dst and add on
  logic first, opens;
  logic which;
  logic [BANK-1:0] bank;

  assign step_valid = active && (!now.gather || gather_here);
  assign gather_row = row;
  assign go         = step_valid && step_ready;
  assign row_ends   = row == now.rows - 11'd1;
  assign k_ends     = 32'(k_left) <= ROWS;
  assign ends       = row_ends && k_ends && 32'(n_left) <= COLUMNS;
  assign take       = waits && (!active || (go && ends));

  always_ff @(posedge clk) begin
    if (go) begin
      row    <= row + 11'd1;
      source <= source + 17'(now.src_stride);
      place  <= place + 17'(now.dst_stride);
      scale_row <= scale_row + 11'(now.heads);
      if (row_ends) begin
        row       <= '0;
        place     <= place_tile;
        scale_row <= 11'(now.head);
        if (!k_ends) begin
          k_left      <= k_left - 14'(ROWS);
          first       <= 1'b0;
          source      <= source_tile + 17'(SPAN);
          source_tile <= source_tile + 17'(SPAN);
          k_granules  <= k_granules + 17'(SPAN);
        end else begin
          k_left      <= now.k;
          n_left      <= n_left - 13'(COLUMNS);
          first       <= 1'b1;
          opens       <= 1'b0;
          source      <= now.src;
          source_tile <= now.src;
          k_granules  <= '0;
          place       <= place_tile + now.dst_tile;
          place_tile  <= place_tile + now.dst_tile;
          bank        <= bank + 1'b1;
        end
      end
      if (ends) active <= 1'b0;
    end
    if (take) begin
      active      <= 1'b1;
      now         <= next;
      row         <= '0;
      k_left      <= next.k;
      n_left      <= next.n;
      source      <= next.src;
      source_tile <= next.src;
      k_granules  <= '0;
      gather_turn <= gather_turn ^ next.gather;
      place       <= '0;
      place_tile  <= '0;
      scale_row   <= 11'(next.head);
      first       <= 1'b1;
      opens       <= 1'b1;
      which       <= which ^ next.table_;
    end
    if (reset) begin
      active <= 1'b0;
      which  <= 1'b0;
      gather_turn <= 1'b1;  // the first one is 0
      bank   <= '0;
    end
  end

  how_t how;
  assign how = '{
          source: now.source,
          heads: now.heads,
          shift: now.shift[4:0],
          wide: now.wide,
          residual: now.residual,
          table_: now.table_,
          which: which,
          zero: now.zero,
          low: now.low
      };
  assign step_swap    = row == '0;
  assign step_region  = now.src_region;
  assign step_granule = now.gather ? gather_granule + k_granules : source;
  assign step_depth   = k_ends ? DEPTH'(k_left) : DEPTH'(ROWS);
  assign step_tag = '{
          first: first,
          last: k_ends,
          ends: ends,
          opens: opens,
          closes: 32'(n_left) <= COLUMNS,
          row: row,
          state: scale_row,
          bank: bank,
          columns: 7'(32'(n_left) < COLUMNS ? 32'(n_left) : COLUMNS),
          how: how,
          region: now.dst_region,
          granule: now.dst + place,
          head: now.dst_head
      };
  assign add_region  = now.add_region;
  assign add_granule = now.add + place;
  assign scale_mul   = now.mul;
  assign scale_shift = now.shift;
endmodule
