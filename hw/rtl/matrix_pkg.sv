// What goes through the matrix unit: instructions as its parts need them, beats of weights, rows of tiles.
package matrix_pkg;
  import edgemtl_isa_pkg::*;

  localparam int unsigned BANKS = 16;  // of column parameters: more than tiles of LEAST_TILE rows in the pipeline
  localparam int unsigned BANK = $clog2(BANKS);

  // Where weights come from, and with them how sums become values: by scales of columns, of rows, or by shifts alone.
  typedef enum logic [1:0] {FROM_RING, FROM_VALUES, FROM_KEYS} source_e;

  // An instruction: rows of k bytes, n columns. MIX: k keys, weights from `values`. SCORES: n keys, which are `values`.
  typedef struct packed {
    source_e           source;
    logic [2:0]        src_region;
    logic [16:0]       src;
    logic [11:0]       src_stride;
    logic [10:0]       rows;
    logic [13:0]       k;
    logic [12:0]       n;
    logic [2:0]        dst_region;
    logic [16:0]       dst;
    logic [13:0]       dst_stride;  // from a row of the array to the next
    logic [11:0]       dst_head;    // from a head's result to the next
    logic [16:0]       dst_tile;
    logic [16:0]       offset;
    logic [16:0]       release_;
    logic              wide;
    logic              table_;
    logic signed [7:0] zero;
    logic signed [7:0] low;
    logic              residual;
    logic [2:0]        add_region;
    logic [16:0]       add;
    logic [2:0]        values_region;
    logic [16:0]       values;
    logic [11:0]       values_stride;
    logic [16:0]       values_tile;
    logic [1:0]        heads;
    logic [1:0]        head;
    logic [16:0]       mul;
    logic [5:0]        shift;
    logic [13:0]       slot;
    logic [12:0]       skip;
    logic              gather;
  } layer_t;

  function automatic logic [13:0] times(logic [11:0] stride, logic [1:0] heads);
    return (heads[1] ? {1'b0, stride, 1'b0} : '0) + (heads[0] ? 14'(stride) : '0);
  endfunction

  function automatic layer_t layer_of(word_t word);
    /* verilator lint_off UNUSEDSIGNAL */
    linear_t linear;  // the sequencer reads who waits and signals
    mix_t mix;
    scores_t scores;
    /* verilator lint_on UNUSEDSIGNAL */
    linear   = word;
    mix      = word;
    scores   = word;
    layer_of = '0;
    if (mix.code == OP_MIX) begin
      layer_of.source        = FROM_VALUES;
      layer_of.src_region    = mix.src_region;
      layer_of.src           = mix.src;
      layer_of.src_stride    = mix.src_stride;
      layer_of.rows          = mix.rows;
      layer_of.k             = mix.count;
      layer_of.n             = mix.n;
      layer_of.dst_region    = mix.dst_region;
      layer_of.dst           = mix.dst;
      layer_of.dst_stride    = 14'(mix.dst_stride);
      layer_of.dst_tile      = 17'd1;
      layer_of.low           = -8'sd128;
      layer_of.values_region = mix.values_region;
      layer_of.values        = mix.values;
      layer_of.values_stride = mix.values_stride;
      layer_of.values_tile   = mix.values_tile;
      layer_of.heads         = mix.heads;
      layer_of.head          = mix.head;
      layer_of.mul           = mix.mul;
      layer_of.shift         = mix.shift;
    end else if (scores.code == OP_SCORES) begin
      layer_of.source        = FROM_KEYS;
      layer_of.src_region    = scores.src_region;
      layer_of.src           = scores.src;
      layer_of.src_stride    = scores.src_stride;
      layer_of.rows          = scores.rows;
      layer_of.k             = 14'(scores.k);
      layer_of.n             = 13'(scores.count);
      layer_of.dst_region    = scores.dst_region;
      layer_of.dst           = scores.dst;
      layer_of.dst_stride    = times(scores.dst_stride, scores.heads);
      layer_of.dst_head      = scores.dst_stride;
      layer_of.dst_tile      = 17'd2;
      layer_of.wide          = 1'b1;
      layer_of.low           = -8'sd128;
      layer_of.values_region = scores.keys_region;
      layer_of.values        = scores.keys;
      layer_of.values_stride = scores.keys_stride;
      layer_of.heads         = scores.heads;
      layer_of.shift         = scores.shift > 6'd27 ? 6'd27 : scores.shift;  // sums have 27 bits
    end else begin
      layer_of.src_region = linear.src_region;
      layer_of.src        = linear.src;
      layer_of.src_stride = linear.src_stride;
      layer_of.rows       = linear.rows;
      layer_of.k          = 14'(linear.k);
      layer_of.n          = linear.n;
      layer_of.dst_region = linear.dst_region;
      layer_of.dst        = linear.dst;
      layer_of.dst_stride = 14'(linear.dst_stride);
      layer_of.dst_tile   = linear.dst_tile;
      layer_of.offset     = linear.offset;
      layer_of.release_   = linear.release_;
      layer_of.wide       = linear.wide;
      layer_of.table_     = linear.table_;
      layer_of.zero       = linear.zero;
      layer_of.low        = linear.low;
      layer_of.residual   = linear.residual;
      layer_of.add_region = linear.add_region;
      layer_of.add        = linear.add;
      layer_of.slot       = linear.slot;
      layer_of.skip       = linear.skip;
      layer_of.gather     = linear.gather;
    end
  endfunction

  // A beat of what is loaded: number counts from 0 in its part.
  typedef enum logic [1:0] {PART_TABLE, PART_COLUMN, PART_WEIGHTS} part_e;
  typedef struct packed {
    part_e      part;
    logic [7:0] number;
    logic       ends;    // the last of a tile
    logic       closes;  // and of a tile of columns
    logic       last;    // and of an instruction
    logic       which;   // of the two tables
  } beat_t;

  // How sums become values: law's `Finish`, or `attention` by the row's scale or a shift.
  typedef struct packed {
    source_e           source;
    logic [1:0]        heads;
    logic [4:0]        shift;
    logic              wide;
    logic              residual;
    logic              table_;
    logic              which;
    logic signed [7:0] zero;
    logic signed [7:0] low;
  } how_t;

  typedef struct packed {
    logic            first;  // tile of k
    logic            last;
    logic            ends;   // the last row of an instruction
    logic            opens;  // the first tile of columns
    logic            closes;
    logic [10:0]     row;
    logic [10:0]     state;  // the first head's row of the row state
    logic [BANK-1:0] bank;
    logic [6:0]      columns;  // of the tile that the instruction has
    how_t            how;
    logic [2:0]      region;  // where the result goes
    logic [16:0]     granule;
    logic [11:0]     head;  // granules from a head's result to the next
  } row_t;
endpackage
