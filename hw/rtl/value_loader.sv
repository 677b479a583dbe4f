// Loads the values of MIX into the array: a granule of COLUMNS bytes of each key is a row of a tile.
//
// In:  layer, a MIX with rows whose credits are there, at layer_valid and layer_ready. One waits while another is loaded.
// Region: read_valid, read_ready: read_count granules, read_stride from one to the next, from read_granule of
//      read_region on. Data come in order with data_valid, the first granule lowest.
// Out: beats of LOAD_ROWS rows at beat_valid and beat_ready, those of a tile filled up with zeros. LANES granules a cycle
//      become beats in a gearbox.
module value_loader
  import matrix_pkg::*;
#(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LANES     = 2,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned DEPTH     = 16,
    localparam int unsigned COUNT    = $clog2(LANES + 1)
) (
    input  logic                           clk,
    input  logic                           reset,
    input  logic                           layer_valid,
    output logic                           layer_ready,
    input  layer_t                         layer,
    output logic                           read_valid,
    input  logic                           read_ready,
    output logic [2:0]                     read_region,
    output logic [16:0]                    read_granule,
    output logic [11:0]                    read_stride,
    output logic [COUNT-1:0]               read_count,
    input  logic                           data_valid,
    input  logic [LANES*COLUMNS*8-1:0]     data,
    output logic                           beat_valid,
    input  logic                           beat_ready,
    output beat_t                          beat,
    output logic [LOAD_ROWS*COLUMNS*8-1:0] beat_data
);
  localparam int unsigned SIZE = $clog2(ROWS + 1);
  typedef struct packed {
    logic closes;
    logic last;
  } tile_t;
  typedef struct packed {
    logic [COUNT-1:0] count;
    logic             ends;
    tile_t            tile;
  } name_t;

  /* verilator lint_off UNUSEDSIGNAL */
  layer_t next, now;  // the walk reads the other operands
  /* verilator lint_on UNUSEDSIGNAL */
  logic waits, active, take, go, room, ends, closes, last;
  assign layer_ready = !waits || take;
  always_ff @(posedge clk) begin
    if (take) waits <= 1'b0;
    if (layer_valid && layer_ready) begin
      next  <= layer;
      waits <= 1'b1;
    end
    if (reset) waits <= 1'b0;
  end

  // What is left of the tile, of the keys behind it, of the columns from this tile on; the next granule, and key 0's.
  logic [SIZE-1:0] left;
  logic [13:0] keys;
  logic [12:0] n_left;
  logic [16:0] granule, column;

  function automatic logic [SIZE-1:0] tile_of(logic [13:0] rows);
    return 32'(rows) < ROWS ? SIZE'(rows) : SIZE'(ROWS);
  endfunction

  assign read_valid   = active && room;
  assign read_region  = now.values_region;
  assign read_granule = granule;
  assign read_stride  = now.values_stride;
  assign ends         = 32'(left) <= LANES;
  assign read_count   = ends ? COUNT'(left) : COUNT'(LANES);
  assign closes       = ends && keys == '0;
  assign last         = closes && 32'(n_left) <= COLUMNS;
  assign go           = read_valid && read_ready;
  assign take         = waits && (!active || (go && last));

  logic [16:0] following;
  always_comb begin
    following = granule;
    for (int unsigned i = 0; i < LANES; i++) if (i < 32'(read_count)) following += 17'(now.values_stride);
  end

  always_ff @(posedge clk) begin
    if (go) begin
      granule <= following;
      left    <= left - SIZE'(LANES);
      if (closes) begin
        left    <= tile_of(now.k);
        keys    <= now.k - 14'(tile_of(now.k));
        n_left  <= n_left - 13'(COLUMNS);
        granule <= column + now.values_tile;
        column  <= column + now.values_tile;
      end else if (ends) begin
        left <= tile_of(keys);
        keys <= keys - 14'(tile_of(keys));
      end
      if (last) active <= 1'b0;
    end
    if (take) begin
      active  <= 1'b1;
      now     <= next;
      left    <= tile_of(next.k);
      keys    <= next.k - 14'(tile_of(next.k));
      n_left  <= next.n;
      granule <= next.values;
      column  <= next.values;
    end
    if (reset) active <= 1'b0;
  end

  // Granules on their way, and those that wait here.
  logic [$clog2(DEPTH+1)-1:0] asked;
  logic there, named, goes, names_fit, granules_fit, gear_ready;
  name_t request, name;
  logic [LANES*COLUMNS*8-1:0] granules;
  assign room    = 32'(asked) != DEPTH;
  assign request = '{count: read_count, ends: ends, tile: '{closes: closes, last: last}};
  assign goes    = there && named && gear_ready;

  fifo #(.WIDTH($bits(name_t)), .DEPTH(DEPTH)) names (
      .clk,
      .reset,
      .in_valid(go),
      .in_ready(names_fit),
      .in_data(request),
      .out_valid(named),
      .out_ready(goes),
      .out_data(name)
  );
  fifo #(.WIDTH(LANES * COLUMNS * 8), .DEPTH(DEPTH)) arrived (
      .clk,
      .reset,
      .in_valid(data_valid),
      .in_ready(granules_fit),
      .in_data(data),
      .out_valid(there),
      .out_ready(goes),
      .out_data(granules)
  );

  tile_t tile;
  logic beat_ends;
  logic [7:0] number;
  gearbox #(
      .IN(LANES),
      .OUT(LOAD_ROWS),
      .SIZE(COLUMNS * 8),
      .TAG($bits(tile_t))
  ) gears (
      .clk,
      .reset,
      .in_valid(there && named),
      .in_ready(gear_ready),
      .in_count(name.count),
      .in_data(granules),
      .in_ends(name.ends),
      .in_tag(name.tile),
      .out_valid(beat_valid),
      .out_ready(beat_ready),
      .out_data(beat_data),
      .out_ends(beat_ends),
      .out_tag(tile)
  );
  assign beat = '{
          part: PART_WEIGHTS,
          number: number,
          ends: beat_ends,
          closes: beat_ends && tile.closes,
          last: beat_ends && tile.last,
          which: 1'b0
      };

  always_ff @(posedge clk) begin
    asked <= asked + $bits(asked)'(go) - $bits(asked)'(goes);
    if (beat_valid && beat_ready) number <= beat_ends ? '0 : number + 1'b1;
    if (reset) begin
      asked  <= '0;
      number <= '0;
    end
`ifndef SYNTHESIS
    if (!reset && ((go && !names_fit) || (data_valid && !granules_fit)))
      $fatal(1, "more granules than were asked for");
`endif
  end
endmodule
