// Loads the keys of SCORES into the array: the bytes of a key are a column of a tile.
//
// In:  layer, a SCORES with rows whose credits are there, at layer_valid and layer_ready. One waits while another is loaded.
// Region: read_valid, read_ready: read_count granules from read_granule of read_region on, up to ROWS bytes of a key. Data
//      come in order with data_valid, the first granule lowest.
// Out: beats of LOAD_ROWS rows at beat_valid and beat_ready. A key a cycle goes through the transposer.
module key_loader
  import matrix_pkg::*;
#(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned DEPTH     = 16,
    localparam int unsigned SPAN     = ROWS / COLUMNS,
    localparam int unsigned COUNT    = $clog2(SPAN + 1)
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
    output logic [COUNT-1:0]               read_count,
    input  logic                           data_valid,
    input  logic [ROWS*8-1:0]              data,
    output logic                           beat_valid,
    input  logic                           beat_ready,
    output beat_t                          beat,
    output logic [LOAD_ROWS*COLUMNS*8-1:0] beat_data
);
  localparam int unsigned BEATS = $clog2(ROWS / LOAD_ROWS + 1);
  typedef struct packed {
    logic closes;
    logic last;
  } tile_t;
  typedef struct packed {
    logic             ends;
    logic [BEATS-1:0] beats;
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

  // The key in its tile, what is left of a key from this tile on and of the keys; granules of this key and of the tile's
  // first one, both at this tile's bytes, and of that one's first bytes.
  logic [$clog2(COLUMNS)-1:0] key;
  logic [13:0] k_left;
  logic [12:0] n_left;
  logic [16:0] granule, first, column;
  logic [13:0] depth;

  assign depth        = 32'(k_left) < ROWS ? k_left : 14'(ROWS);
  assign read_valid   = active && room;
  assign read_region  = now.values_region;
  assign read_granule = granule;
  assign read_count   = COUNT'((32'(depth) + COLUMNS - 1) / COLUMNS);
  assign ends         = 32'(key) == COLUMNS - 1 || 13'(key) == n_left - 13'd1;
  assign closes       = ends && 32'(k_left) <= ROWS;
  assign last         = closes && 32'(n_left) <= COLUMNS;
  assign go           = read_valid && read_ready;
  assign take         = waits && (!active || (go && last));

  logic [16:0] following;  // the first key of the next tile of keys
  assign following = column + 17'(now.values_stride) * 17'(COLUMNS);

  always_ff @(posedge clk) begin
    if (go) begin
      key     <= key + 1'b1;
      granule <= granule + 17'(now.values_stride);
      if (closes) begin
        key     <= '0;
        k_left  <= now.k;
        n_left  <= n_left - 13'(COLUMNS);
        granule <= following;
        first   <= following;
        column  <= following;
      end else if (ends) begin
        key     <= '0;
        k_left  <= k_left - 14'(ROWS);
        granule <= first + 17'(SPAN);
        first   <= first + 17'(SPAN);
      end
      if (last) active <= 1'b0;
    end
    if (take) begin
      active  <= 1'b1;
      now     <= next;
      key     <= '0;
      k_left  <= next.k;
      n_left  <= next.n;
      granule <= next.values;
      first   <= next.values;
      column  <= next.values;
    end
    if (reset) active <= 1'b0;
  end

  // Keys on their way, and those that wait here.
  logic [$clog2(DEPTH+1)-1:0] asked;
  logic there, named, goes, names_fit, keys_fit, turns;
  name_t request, name;
  logic [ROWS*8-1:0] bytes;
  assign room    = 32'(asked) != DEPTH;
  assign request = '{
          ends: ends,
          beats: BEATS'((32'(depth) + LOAD_ROWS - 1) / LOAD_ROWS),
          tile: '{closes: closes, last: last}
      };
  assign goes = there && named && turns;

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
  fifo #(.WIDTH(ROWS * 8), .DEPTH(DEPTH)) arrived (
      .clk,
      .reset,
      .in_valid(data_valid),
      .in_ready(keys_fit),
      .in_data(data),
      .out_valid(there),
      .out_ready(goes),
      .out_data(bytes)
  );

  tile_t tile;
  logic beat_ends;
  logic [BEATS-1:0] number;
  transposer #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .LOAD_ROWS(LOAD_ROWS),
      .TAG($bits(tile_t))
  ) transpose (
      .clk,
      .reset,
      .in_valid(there && named),
      .in_ready(turns),
      .in_data(bytes),
      .in_ends(name.ends),
      .in_beats(name.beats),
      .in_tag(name.tile),
      .out_valid(beat_valid),
      .out_ready(beat_ready),
      .out_data(beat_data),
      .out_number(number),
      .out_ends(beat_ends),
      .out_tag(tile)
  );
  assign beat = '{
          part: PART_WEIGHTS,
          number: 8'(number),
          ends: beat_ends,
          closes: beat_ends && tile.closes,
          last: beat_ends && tile.last,
          which: 1'b0
      };

  always_ff @(posedge clk) begin
    asked <= reset ? '0 : asked + $bits(asked)'(go) - $bits(asked)'(goes);
`ifndef SYNTHESIS
    if (!reset && ((go && !names_fit) || (data_valid && !keys_fit))) $fatal(1, "more keys than were asked for");
`endif
  end
endmodule
