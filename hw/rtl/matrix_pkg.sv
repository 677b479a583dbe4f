// What goes through the matrix unit: instructions as its parts need them, beats of weights, rows of tiles.
package matrix_pkg;
  import edgemtl_isa_pkg::*;

  localparam int unsigned BANKS = 16;  // of column parameters: more than tiles of LEAST_TILE rows in the pipeline
  localparam int unsigned BANK = $clog2(BANKS);

  // An instruction: rows of k bytes, n columns. MIX: k keys, weights from `values`, scales of rows instead of columns.
  typedef struct packed {
    logic              mixes;
    logic [2:0]        src_region;
    logic [16:0]       src;
    logic [11:0]       src_stride;
    logic [10:0]       rows;
    logic [13:0]       k;
    logic [12:0]       n;
    logic [2:0]        dst_region;
    logic [16:0]       dst;
    logic [11:0]       dst_stride;
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
  } layer_t;

  function automatic layer_t layer_of(word_t word);
    /* verilator lint_off UNUSEDSIGNAL */
    linear_t linear;  // slots are not here yet
    mix_t mix;
    /* verilator lint_on UNUSEDSIGNAL */
    linear   = word;
    mix      = word;
    layer_of = '0;
    if (mix.code == OP_MIX) begin
      layer_of.mixes         = 1'b1;
      layer_of.src_region    = mix.src_region;
      layer_of.src           = mix.src;
      layer_of.src_stride    = mix.src_stride;
      layer_of.rows          = mix.rows;
      layer_of.k             = mix.count;
      layer_of.n             = mix.n;
      layer_of.dst_region    = mix.dst_region;
      layer_of.dst           = mix.dst;
      layer_of.dst_stride    = mix.dst_stride;
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
    end else begin
      layer_of.src_region = linear.src_region;
      layer_of.src        = linear.src;
      layer_of.src_stride = linear.src_stride;
      layer_of.rows       = linear.rows;
      layer_of.k          = 14'(linear.k);
      layer_of.n          = linear.n;
      layer_of.dst_region = linear.dst_region;
      layer_of.dst        = linear.dst;
      layer_of.dst_stride = linear.dst_stride;
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

  // How sums become values: law's `Finish`, or `attention` by the row's scale.
  typedef struct packed {
    logic              by_row;
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
    logic [10:0]     row;
    logic [BANK-1:0] bank;
    how_t            how;
    logic [2:0]      region;  // where the result goes
    logic [16:0]     granule;
  } row_t;
endpackage
