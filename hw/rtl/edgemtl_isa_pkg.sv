// `python -m edgemtl.hw.isa_documents` writes this file from hw/isa.py; change that table, not the file.
//
// An operand is word[OPERATION_FIELD_LOW +: OPERATION_FIELD_WIDTH], without a sign, or a member of
// operation_t'(word), which has its sign.
package edgemtl_isa_pkg;
  // No design uses all of them.
  /* verilator lint_off UNUSEDPARAM */
  localparam int unsigned WORD_BITS = 256;
  localparam int unsigned WORD_BYTES = 32;
  localparam int unsigned LINE_BYTES = 64;
  localparam int unsigned VERSION = 2;
  localparam int unsigned UNITS = 6;
  localparam int unsigned CODE_LOW = 0;
  localparam int unsigned CODE_WIDTH = 6;
  localparam int unsigned WAITS_LOW = 6;
  localparam int unsigned WAITS_WIDTH = 6;
  localparam int unsigned SIGNALS_LOW = 12;
  localparam int unsigned SIGNALS_WIDTH = 6;
  localparam int unsigned OPERANDS_LOW = 18;
  localparam int unsigned CYCLES_MATRIX = 48;
  localparam int unsigned CYCLES_LEAST_TILE = 4;
  localparam int unsigned CYCLES_TRANSPOSE = 28;
  localparam int unsigned CYCLES_CONV_FILL = 1;
  localparam int unsigned CYCLES_SOFTMAX = 40;
  localparam int unsigned CYCLES_NORM = 72;
  localparam int unsigned CYCLES_COMBINE = 24;
  localparam int unsigned CYCLES_SUMS = 22;
  localparam int unsigned CYCLES_ENLARGE = 28;
  localparam int unsigned CYCLES_VALUES = 22;
  localparam int unsigned CYCLES_TABLE = 64;
  localparam int unsigned CYCLES_MEAN = 24;
  localparam int unsigned CYCLES_CLASSES = 30;
  localparam int unsigned CYCLES_ROUTE = 52;
  localparam int unsigned CYCLES_ROW = 4;
  localparam int unsigned CYCLES_COMBINE_ROW = 1;
  localparam int unsigned CYCLES_LINK = 3;
  localparam int unsigned CYCLES_MEMORY = 120;
  localparam logic [31:0] MAGIC = 32'h4c544d45;
  localparam logic [15:0] EXP2_TABLE [64] = '{
    16'd65280, 16'd64577, 16'd63881, 16'd63193, 16'd62512, 16'd61839, 16'd61173, 16'd60514,
    16'd59862, 16'd59217, 16'd58579, 16'd57948, 16'd57324, 16'd56707, 16'd56096, 16'd55491,
    16'd54894, 16'd54302, 16'd53717, 16'd53139, 16'd52566, 16'd52000, 16'd51440, 16'd50886,
    16'd50338, 16'd49796, 16'd49259, 16'd48729, 16'd48204, 16'd47684, 16'd47171, 16'd46663,
    16'd46160, 16'd45663, 16'd45171, 16'd44684, 16'd44203, 16'd43727, 16'd43256, 16'd42790,
    16'd42329, 16'd41873, 16'd41422, 16'd40976, 16'd40534, 16'd40098, 16'd39666, 16'd39238,
    16'd38816, 16'd38398, 16'd37984, 16'd37575, 16'd37170, 16'd36770, 16'd36374, 16'd35982,
    16'd35594, 16'd35211, 16'd34831, 16'd34456, 16'd34085, 16'd33718, 16'd33355, 16'd32995
  };

  typedef logic [255:0] word_t;

  typedef enum logic [5:0] {
    OP_HEAD = 6'd1,
    OP_END = 6'd2,
    OP_STREAM = 6'd3,
    OP_LOAD = 6'd4,
    OP_STORE = 6'd5,
    OP_LINEAR = 6'd6,
    OP_CONV = 6'd7,
    OP_SCORES = 6'd8,
    OP_MIX = 6'd9,
    OP_SOFTMAX = 6'd10,
    OP_NORM = 6'd11,
    OP_OPEN = 6'd12,
    OP_COMBINE = 6'd13,
    OP_SETTLE = 6'd14,
    OP_ENLARGE = 6'd15,
    OP_ADD = 6'd17,
    OP_MAP = 6'd18,
    OP_MEAN = 6'd19,
    OP_CLASSES = 6'd20,
    OP_RESCALE = 6'd21,
    OP_ROUTE = 6'd16
  } code_e;

  typedef enum logic [2:0] {
    UNIT_WEIGHTS = 3'd0,
    UNIT_DATA = 3'd1,
    UNIT_MATRIX = 3'd2,
    UNIT_SOFTMAX = 3'd3,
    UNIT_VECTOR = 3'd4,
    UNIT_ROUTER = 3'd5
  } unit_e;

  typedef enum logic [2:0] {
    REGION_RESIDUAL = 3'd0,
    REGION_HIDDEN = 3'd1,
    REGION_INPUT = 3'd2,
    REGION_SCORES0 = 3'd3,
    REGION_SCORES1 = 3'd4,
    REGION_QUERIES = 3'd5,
    REGION_CONSTANTS = 3'd6
  } region_e;

  typedef enum logic [2:0] {
    FAULT_NONE = 3'd0,
    FAULT_INSTRUCTION = 3'd1,
    FAULT_STREAM = 3'd2,
    FAULT_CRC = 3'd3,
    FAULT_ACCESS = 3'd4,
    FAULT_MEMORY = 3'd5,
    FAULT_CREDITS = 3'd6,
    FAULT_WATCHDOG = 3'd7
  } fault_e;

  typedef enum logic [1:0] {
    WINDOW_PARAMETERS = 2'd0,
    WINDOW_INPUT = 2'd1,
    WINDOW_OUTPUT = 2'd2,
    WINDOW_SCRATCH = 2'd3
  } window_e;

  // HEAD, sequencer: starts a stream and describes it.
  localparam int unsigned HEAD_MAGIC_LOW = 18;
  localparam int unsigned HEAD_MAGIC_WIDTH = 32;
  localparam int unsigned HEAD_VERSION_LOW = 50;
  localparam int unsigned HEAD_VERSION_WIDTH = 8;
  localparam int unsigned HEAD_WORDS_LOW = 58;
  localparam int unsigned HEAD_WORDS_WIDTH = 24;
  localparam int unsigned HEAD_CRC_LOW = 82;
  localparam int unsigned HEAD_CRC_WIDTH = 32;
  localparam int unsigned HEAD_RING_LOW = 114;
  localparam int unsigned HEAD_RING_WIDTH = 17;
  localparam int unsigned HEAD_ENGINE_LOW = 131;
  localparam int unsigned HEAD_ENGINE_WIDTH = 64;
  typedef struct packed {
    logic [60:0] zeros;
    logic [63:0] engine;
    logic [16:0] ring;
    logic [31:0] crc;
    logic [23:0] words;
    logic [7:0] version;
    logic [31:0] magic;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } head_t;

  // END, sequencer: ends a stream; the task is done when every unit is.
  typedef struct packed {
    logic [237:0] zeros;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } end_t;

  // STREAM, weights: reads weights from DRAM into the ring; with a slot, those of its expert, or nothing if the entry is missing.
  localparam int unsigned STREAM_ADDRESS_LOW = 18;
  localparam int unsigned STREAM_ADDRESS_WIDTH = 32;
  localparam int unsigned STREAM_LINES_LOW = 50;
  localparam int unsigned STREAM_LINES_WIDTH = 20;
  localparam int unsigned STREAM_SLOT_LOW = 70;
  localparam int unsigned STREAM_SLOT_WIDTH = 14;
  localparam int unsigned STREAM_STRIDE_LOW = 84;
  localparam int unsigned STREAM_STRIDE_WIDTH = 20;
  localparam int unsigned STREAM_CACHED_LOW = 104;
  localparam int unsigned STREAM_CACHED_WIDTH = 1;
  localparam int unsigned STREAM_FORMAT_LOW = 105;
  localparam int unsigned STREAM_FORMAT_WIDTH = 2;
  typedef struct packed {
    logic [148:0] zeros;
    logic [1:0] format;
    logic cached;
    logic [19:0] stride;
    logic [13:0] slot;
    logic [19:0] lines;
    logic [31:0] address;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } stream_t;

  // LOAD, data: copies rows from DRAM to a region.
  localparam int unsigned LOAD_WINDOW_LOW = 18;
  localparam int unsigned LOAD_WINDOW_WIDTH = 2;
  localparam int unsigned LOAD_ADDRESS_LOW = 20;
  localparam int unsigned LOAD_ADDRESS_WIDTH = 32;
  localparam int unsigned LOAD_STEP_LOW = 52;
  localparam int unsigned LOAD_STEP_WIDTH = 20;
  localparam int unsigned LOAD_DST_REGION_LOW = 72;
  localparam int unsigned LOAD_DST_REGION_WIDTH = 3;
  localparam int unsigned LOAD_DST_LOW = 75;
  localparam int unsigned LOAD_DST_WIDTH = 17;
  localparam int unsigned LOAD_STRIDE_LOW = 92;
  localparam int unsigned LOAD_STRIDE_WIDTH = 12;
  localparam int unsigned LOAD_ROWS_LOW = 104;
  localparam int unsigned LOAD_ROWS_WIDTH = 11;
  localparam int unsigned LOAD_SIZE_LOW = 115;
  localparam int unsigned LOAD_SIZE_WIDTH = 14;
  typedef struct packed {
    logic [126:0] zeros;
    logic [13:0] size;
    logic [10:0] rows;
    logic [11:0] stride;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [19:0] step;
    logic [31:0] address;
    logic [1:0] window;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } load_t;

  // STORE, data: copies rows from a region to DRAM.
  localparam int unsigned STORE_WINDOW_LOW = 18;
  localparam int unsigned STORE_WINDOW_WIDTH = 2;
  localparam int unsigned STORE_ADDRESS_LOW = 20;
  localparam int unsigned STORE_ADDRESS_WIDTH = 32;
  localparam int unsigned STORE_STEP_LOW = 52;
  localparam int unsigned STORE_STEP_WIDTH = 20;
  localparam int unsigned STORE_SRC_REGION_LOW = 72;
  localparam int unsigned STORE_SRC_REGION_WIDTH = 3;
  localparam int unsigned STORE_SRC_LOW = 75;
  localparam int unsigned STORE_SRC_WIDTH = 17;
  localparam int unsigned STORE_STRIDE_LOW = 92;
  localparam int unsigned STORE_STRIDE_WIDTH = 12;
  localparam int unsigned STORE_ROWS_LOW = 104;
  localparam int unsigned STORE_ROWS_WIDTH = 11;
  localparam int unsigned STORE_SIZE_LOW = 115;
  localparam int unsigned STORE_SIZE_WIDTH = 14;
  typedef struct packed {
    logic [126:0] zeros;
    logic [13:0] size;
    logic [10:0] rows;
    logic [11:0] stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [19:0] step;
    logic [31:0] address;
    logic [1:0] window;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } store_t;

  // LINEAR, matrix: multiplies rows by weights from the ring and requantises; with a slot, the rows of that expert's queue.
  localparam int unsigned LINEAR_SRC_REGION_LOW = 18;
  localparam int unsigned LINEAR_SRC_REGION_WIDTH = 3;
  localparam int unsigned LINEAR_SRC_LOW = 21;
  localparam int unsigned LINEAR_SRC_WIDTH = 17;
  localparam int unsigned LINEAR_SRC_STRIDE_LOW = 38;
  localparam int unsigned LINEAR_SRC_STRIDE_WIDTH = 12;
  localparam int unsigned LINEAR_ROWS_LOW = 50;
  localparam int unsigned LINEAR_ROWS_WIDTH = 11;
  localparam int unsigned LINEAR_K_LOW = 61;
  localparam int unsigned LINEAR_K_WIDTH = 13;
  localparam int unsigned LINEAR_N_LOW = 74;
  localparam int unsigned LINEAR_N_WIDTH = 13;
  localparam int unsigned LINEAR_DST_REGION_LOW = 87;
  localparam int unsigned LINEAR_DST_REGION_WIDTH = 3;
  localparam int unsigned LINEAR_DST_LOW = 90;
  localparam int unsigned LINEAR_DST_WIDTH = 17;
  localparam int unsigned LINEAR_DST_STRIDE_LOW = 107;
  localparam int unsigned LINEAR_DST_STRIDE_WIDTH = 12;
  localparam int unsigned LINEAR_DST_TILE_LOW = 119;
  localparam int unsigned LINEAR_DST_TILE_WIDTH = 17;
  localparam int unsigned LINEAR_OFFSET_LOW = 136;
  localparam int unsigned LINEAR_OFFSET_WIDTH = 17;
  localparam int unsigned LINEAR_RELEASE_LOW = 153;
  localparam int unsigned LINEAR_RELEASE_WIDTH = 17;
  localparam int unsigned LINEAR_WIDE_LOW = 170;
  localparam int unsigned LINEAR_WIDE_WIDTH = 1;
  localparam int unsigned LINEAR_TABLE_LOW = 171;
  localparam int unsigned LINEAR_TABLE_WIDTH = 1;
  localparam int unsigned LINEAR_ZERO_LOW = 172;
  localparam int unsigned LINEAR_ZERO_WIDTH = 8;
  localparam int unsigned LINEAR_LOW_LOW = 180;
  localparam int unsigned LINEAR_LOW_WIDTH = 8;
  localparam int unsigned LINEAR_RESIDUAL_LOW = 188;
  localparam int unsigned LINEAR_RESIDUAL_WIDTH = 1;
  localparam int unsigned LINEAR_ADD_REGION_LOW = 189;
  localparam int unsigned LINEAR_ADD_REGION_WIDTH = 3;
  localparam int unsigned LINEAR_ADD_LOW = 192;
  localparam int unsigned LINEAR_ADD_WIDTH = 17;
  localparam int unsigned LINEAR_SLOT_LOW = 209;
  localparam int unsigned LINEAR_SLOT_WIDTH = 14;
  localparam int unsigned LINEAR_CACHED_LOW = 223;
  localparam int unsigned LINEAR_CACHED_WIDTH = 1;
  localparam int unsigned LINEAR_SKIP_LOW = 224;
  localparam int unsigned LINEAR_SKIP_WIDTH = 13;
  localparam int unsigned LINEAR_GATHER_LOW = 237;
  localparam int unsigned LINEAR_GATHER_WIDTH = 1;
  localparam int unsigned LINEAR_FORMAT_LOW = 238;
  localparam int unsigned LINEAR_FORMAT_WIDTH = 2;
  typedef struct packed {
    logic [15:0] zeros;
    logic [1:0] format;
    logic gather;
    logic [12:0] skip;
    logic cached;
    logic [13:0] slot;
    logic [16:0] add;
    logic [2:0] add_region;
    logic residual;
    logic signed [7:0] low;
    logic signed [7:0] zero;
    logic table_;
    logic wide;
    logic [16:0] release_;
    logic [16:0] offset;
    logic [16:0] dst_tile;
    logic [11:0] dst_stride;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [12:0] n;
    logic [12:0] k;
    logic [10:0] rows;
    logic [11:0] src_stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } linear_t;

  // CONV, matrix: a convolution over whole rows of an image, requantised.
  localparam int unsigned CONV_SRC_REGION_LOW = 18;
  localparam int unsigned CONV_SRC_REGION_WIDTH = 3;
  localparam int unsigned CONV_SRC_LOW = 21;
  localparam int unsigned CONV_SRC_WIDTH = 17;
  localparam int unsigned CONV_WRAP_LOW = 38;
  localparam int unsigned CONV_WRAP_WIDTH = 11;
  localparam int unsigned CONV_WIDTH_LOW = 49;
  localparam int unsigned CONV_WIDTH_WIDTH = 11;
  localparam int unsigned CONV_HEIGHT_LOW = 60;
  localparam int unsigned CONV_HEIGHT_WIDTH = 11;
  localparam int unsigned CONV_FIRST_LOW = 71;
  localparam int unsigned CONV_FIRST_WIDTH = 11;
  localparam int unsigned CONV_ROWS_LOW = 82;
  localparam int unsigned CONV_ROWS_WIDTH = 6;
  localparam int unsigned CONV_K_LOW = 88;
  localparam int unsigned CONV_K_WIDTH = 13;
  localparam int unsigned CONV_N_LOW = 101;
  localparam int unsigned CONV_N_WIDTH = 13;
  localparam int unsigned CONV_SRC_STRIDE_LOW = 114;
  localparam int unsigned CONV_SRC_STRIDE_WIDTH = 12;
  localparam int unsigned CONV_DST_REGION_LOW = 126;
  localparam int unsigned CONV_DST_REGION_WIDTH = 3;
  localparam int unsigned CONV_DST_LOW = 129;
  localparam int unsigned CONV_DST_WIDTH = 17;
  localparam int unsigned CONV_DST_STRIDE_LOW = 146;
  localparam int unsigned CONV_DST_STRIDE_WIDTH = 12;
  localparam int unsigned CONV_PAD_LOW = 158;
  localparam int unsigned CONV_PAD_WIDTH = 8;
  localparam int unsigned CONV_OFFSET_LOW = 166;
  localparam int unsigned CONV_OFFSET_WIDTH = 17;
  localparam int unsigned CONV_RELEASE_LOW = 183;
  localparam int unsigned CONV_RELEASE_WIDTH = 17;
  localparam int unsigned CONV_WIDE_LOW = 200;
  localparam int unsigned CONV_WIDE_WIDTH = 1;
  localparam int unsigned CONV_TABLE_LOW = 201;
  localparam int unsigned CONV_TABLE_WIDTH = 1;
  localparam int unsigned CONV_ZERO_LOW = 202;
  localparam int unsigned CONV_ZERO_WIDTH = 8;
  localparam int unsigned CONV_LOW_LOW = 210;
  localparam int unsigned CONV_LOW_WIDTH = 8;
  localparam int unsigned CONV_KERNEL_HEIGHT_LOW = 218;
  localparam int unsigned CONV_KERNEL_HEIGHT_WIDTH = 3;
  localparam int unsigned CONV_KERNEL_WIDTH_LOW = 221;
  localparam int unsigned CONV_KERNEL_WIDTH_WIDTH = 3;
  localparam int unsigned CONV_STRIDE_LOW = 224;
  localparam int unsigned CONV_STRIDE_WIDTH = 3;
  localparam int unsigned CONV_DILATION_LOW = 227;
  localparam int unsigned CONV_DILATION_WIDTH = 6;
  localparam int unsigned CONV_TOP_LOW = 233;
  localparam int unsigned CONV_TOP_WIDTH = 6;
  localparam int unsigned CONV_LEFT_LOW = 239;
  localparam int unsigned CONV_LEFT_WIDTH = 6;
  localparam int unsigned CONV_OUT_WIDTH_LOW = 245;
  localparam int unsigned CONV_OUT_WIDTH_WIDTH = 11;
  typedef struct packed {
    logic [10:0] out_width;
    logic [5:0] left;
    logic [5:0] top;
    logic [5:0] dilation;
    logic [2:0] stride;
    logic [2:0] kernel_width;
    logic [2:0] kernel_height;
    logic signed [7:0] low;
    logic signed [7:0] zero;
    logic table_;
    logic wide;
    logic [16:0] release_;
    logic [16:0] offset;
    logic signed [7:0] pad;
    logic [11:0] dst_stride;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [11:0] src_stride;
    logic [12:0] n;
    logic [12:0] k;
    logic [5:0] rows;
    logic [10:0] first;
    logic [10:0] height;
    logic [10:0] width;
    logic [10:0] wrap;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } conv_t;

  // SCORES, matrix: multiplies queries by keys: 16-bit scores of each of `heads` heads, and the largest of each row.
  localparam int unsigned SCORES_SRC_REGION_LOW = 18;
  localparam int unsigned SCORES_SRC_REGION_WIDTH = 3;
  localparam int unsigned SCORES_SRC_LOW = 21;
  localparam int unsigned SCORES_SRC_WIDTH = 17;
  localparam int unsigned SCORES_SRC_STRIDE_LOW = 38;
  localparam int unsigned SCORES_SRC_STRIDE_WIDTH = 12;
  localparam int unsigned SCORES_ROWS_LOW = 50;
  localparam int unsigned SCORES_ROWS_WIDTH = 11;
  localparam int unsigned SCORES_K_LOW = 61;
  localparam int unsigned SCORES_K_WIDTH = 13;
  localparam int unsigned SCORES_HEADS_LOW = 74;
  localparam int unsigned SCORES_HEADS_WIDTH = 2;
  localparam int unsigned SCORES_KEYS_REGION_LOW = 76;
  localparam int unsigned SCORES_KEYS_REGION_WIDTH = 3;
  localparam int unsigned SCORES_KEYS_LOW = 79;
  localparam int unsigned SCORES_KEYS_WIDTH = 17;
  localparam int unsigned SCORES_KEYS_STRIDE_LOW = 96;
  localparam int unsigned SCORES_KEYS_STRIDE_WIDTH = 12;
  localparam int unsigned SCORES_COUNT_LOW = 108;
  localparam int unsigned SCORES_COUNT_WIDTH = 14;
  localparam int unsigned SCORES_DST_REGION_LOW = 122;
  localparam int unsigned SCORES_DST_REGION_WIDTH = 3;
  localparam int unsigned SCORES_DST_LOW = 125;
  localparam int unsigned SCORES_DST_WIDTH = 17;
  localparam int unsigned SCORES_DST_STRIDE_LOW = 142;
  localparam int unsigned SCORES_DST_STRIDE_WIDTH = 12;
  localparam int unsigned SCORES_SHIFT_LOW = 154;
  localparam int unsigned SCORES_SHIFT_WIDTH = 6;
  typedef struct packed {
    logic [95:0] zeros;
    logic [5:0] shift;
    logic [11:0] dst_stride;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [13:0] count;
    logic [11:0] keys_stride;
    logic [16:0] keys;
    logic [2:0] keys_region;
    logic [1:0] heads;
    logic [12:0] k;
    logic [10:0] rows;
    logic [11:0] src_stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } scores_t;

  // MIX, matrix: multiplies attention weights by values and divides by the sum of the weights.
  localparam int unsigned MIX_SRC_REGION_LOW = 18;
  localparam int unsigned MIX_SRC_REGION_WIDTH = 3;
  localparam int unsigned MIX_SRC_LOW = 21;
  localparam int unsigned MIX_SRC_WIDTH = 17;
  localparam int unsigned MIX_SRC_STRIDE_LOW = 38;
  localparam int unsigned MIX_SRC_STRIDE_WIDTH = 12;
  localparam int unsigned MIX_HEADS_LOW = 50;
  localparam int unsigned MIX_HEADS_WIDTH = 2;
  localparam int unsigned MIX_HEAD_LOW = 52;
  localparam int unsigned MIX_HEAD_WIDTH = 2;
  localparam int unsigned MIX_ROWS_LOW = 54;
  localparam int unsigned MIX_ROWS_WIDTH = 11;
  localparam int unsigned MIX_VALUES_REGION_LOW = 65;
  localparam int unsigned MIX_VALUES_REGION_WIDTH = 3;
  localparam int unsigned MIX_VALUES_LOW = 68;
  localparam int unsigned MIX_VALUES_WIDTH = 17;
  localparam int unsigned MIX_VALUES_STRIDE_LOW = 85;
  localparam int unsigned MIX_VALUES_STRIDE_WIDTH = 12;
  localparam int unsigned MIX_VALUES_TILE_LOW = 97;
  localparam int unsigned MIX_VALUES_TILE_WIDTH = 17;
  localparam int unsigned MIX_COUNT_LOW = 114;
  localparam int unsigned MIX_COUNT_WIDTH = 14;
  localparam int unsigned MIX_N_LOW = 128;
  localparam int unsigned MIX_N_WIDTH = 13;
  localparam int unsigned MIX_DST_REGION_LOW = 141;
  localparam int unsigned MIX_DST_REGION_WIDTH = 3;
  localparam int unsigned MIX_DST_LOW = 144;
  localparam int unsigned MIX_DST_WIDTH = 17;
  localparam int unsigned MIX_DST_STRIDE_LOW = 161;
  localparam int unsigned MIX_DST_STRIDE_WIDTH = 12;
  localparam int unsigned MIX_MUL_LOW = 173;
  localparam int unsigned MIX_MUL_WIDTH = 17;
  localparam int unsigned MIX_SHIFT_LOW = 190;
  localparam int unsigned MIX_SHIFT_WIDTH = 6;
  typedef struct packed {
    logic [59:0] zeros;
    logic [5:0] shift;
    logic [16:0] mul;
    logic [11:0] dst_stride;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [12:0] n;
    logic [13:0] count;
    logic [16:0] values_tile;
    logic [11:0] values_stride;
    logic [16:0] values;
    logic [2:0] values_region;
    logic [10:0] rows;
    logic [1:0] head;
    logic [1:0] heads;
    logic [11:0] src_stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } mix_t;

  // SOFTMAX, softmax: turns 16-bit scores into 8-bit weights in place, and computes the reciprocal of each row's sum.
  localparam int unsigned SOFTMAX_SRC_REGION_LOW = 18;
  localparam int unsigned SOFTMAX_SRC_REGION_WIDTH = 3;
  localparam int unsigned SOFTMAX_SRC_LOW = 21;
  localparam int unsigned SOFTMAX_SRC_WIDTH = 17;
  localparam int unsigned SOFTMAX_STRIDE_LOW = 38;
  localparam int unsigned SOFTMAX_STRIDE_WIDTH = 12;
  localparam int unsigned SOFTMAX_ROWS_LOW = 50;
  localparam int unsigned SOFTMAX_ROWS_WIDTH = 13;
  localparam int unsigned SOFTMAX_COUNT_LOW = 63;
  localparam int unsigned SOFTMAX_COUNT_WIDTH = 14;
  typedef struct packed {
    logic [178:0] zeros;
    logic [13:0] count;
    logic [12:0] rows;
    logic [11:0] stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } softmax_t;

  // NORM, vector: LayerNorm of 16-bit rows to bytes.
  localparam int unsigned NORM_SRC_REGION_LOW = 18;
  localparam int unsigned NORM_SRC_REGION_WIDTH = 3;
  localparam int unsigned NORM_SRC_LOW = 21;
  localparam int unsigned NORM_SRC_WIDTH = 17;
  localparam int unsigned NORM_SRC_STRIDE_LOW = 38;
  localparam int unsigned NORM_SRC_STRIDE_WIDTH = 12;
  localparam int unsigned NORM_DST_REGION_LOW = 50;
  localparam int unsigned NORM_DST_REGION_WIDTH = 3;
  localparam int unsigned NORM_DST_LOW = 53;
  localparam int unsigned NORM_DST_WIDTH = 17;
  localparam int unsigned NORM_DST_STRIDE_LOW = 70;
  localparam int unsigned NORM_DST_STRIDE_WIDTH = 12;
  localparam int unsigned NORM_ROWS_LOW = 82;
  localparam int unsigned NORM_ROWS_WIDTH = 11;
  localparam int unsigned NORM_WIDTH_LOW = 93;
  localparam int unsigned NORM_WIDTH_WIDTH = 11;
  localparam int unsigned NORM_EPSILON_LOW = 104;
  localparam int unsigned NORM_EPSILON_WIDTH = 48;
  localparam int unsigned NORM_MUL_LOW = 152;
  localparam int unsigned NORM_MUL_WIDTH = 17;
  localparam int unsigned NORM_SHIFT_LOW = 169;
  localparam int unsigned NORM_SHIFT_WIDTH = 6;
  localparam int unsigned NORM_PARAMETERS_LOW = 175;
  localparam int unsigned NORM_PARAMETERS_WIDTH = 1;
  localparam int unsigned NORM_FROM_REGION_LOW = 176;
  localparam int unsigned NORM_FROM_REGION_WIDTH = 3;
  localparam int unsigned NORM_FROM_LOW = 179;
  localparam int unsigned NORM_FROM_WIDTH = 17;
  typedef struct packed {
    logic [59:0] zeros;
    logic [16:0] from;
    logic [2:0] from_region;
    logic parameters;
    logic [5:0] shift;
    logic [16:0] mul;
    logic [47:0] epsilon;
    logic [10:0] width;
    logic [10:0] rows;
    logic [11:0] dst_stride;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [11:0] src_stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } norm_t;

  // OPEN, vector: turns 16-bit rows into 32-bit sums: value * 2^15 + 2^14, upper half in place, lower half at `low`.
  localparam int unsigned OPEN_HIGH_REGION_LOW = 18;
  localparam int unsigned OPEN_HIGH_REGION_WIDTH = 3;
  localparam int unsigned OPEN_HIGH_LOW = 21;
  localparam int unsigned OPEN_HIGH_WIDTH = 17;
  localparam int unsigned OPEN_LOW_REGION_LOW = 38;
  localparam int unsigned OPEN_LOW_REGION_WIDTH = 3;
  localparam int unsigned OPEN_LOW_LOW = 41;
  localparam int unsigned OPEN_LOW_WIDTH = 17;
  localparam int unsigned OPEN_STRIDE_LOW = 58;
  localparam int unsigned OPEN_STRIDE_WIDTH = 12;
  localparam int unsigned OPEN_ROWS_LOW = 70;
  localparam int unsigned OPEN_ROWS_WIDTH = 11;
  localparam int unsigned OPEN_WIDTH_LOW = 81;
  localparam int unsigned OPEN_WIDTH_WIDTH = 13;
  typedef struct packed {
    logic [161:0] zeros;
    logic [12:0] width;
    logic [10:0] rows;
    logic [11:0] stride;
    logic [16:0] low;
    logic [2:0] low_region;
    logic [16:0] high;
    logic [2:0] high_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } open_t;

  // COMBINE, vector: adds an expert's rows, each multiplied by its weight, to the sums of their tokens.
  localparam int unsigned COMBINE_SRC_REGION_LOW = 18;
  localparam int unsigned COMBINE_SRC_REGION_WIDTH = 3;
  localparam int unsigned COMBINE_SRC_LOW = 21;
  localparam int unsigned COMBINE_SRC_WIDTH = 17;
  localparam int unsigned COMBINE_SRC_STRIDE_LOW = 38;
  localparam int unsigned COMBINE_SRC_STRIDE_WIDTH = 12;
  localparam int unsigned COMBINE_ROWS_LOW = 50;
  localparam int unsigned COMBINE_ROWS_WIDTH = 11;
  localparam int unsigned COMBINE_SLOT_LOW = 61;
  localparam int unsigned COMBINE_SLOT_WIDTH = 14;
  localparam int unsigned COMBINE_SKIP_LOW = 75;
  localparam int unsigned COMBINE_SKIP_WIDTH = 13;
  localparam int unsigned COMBINE_WIDTH_LOW = 88;
  localparam int unsigned COMBINE_WIDTH_WIDTH = 13;
  localparam int unsigned COMBINE_HIGH_REGION_LOW = 101;
  localparam int unsigned COMBINE_HIGH_REGION_WIDTH = 3;
  localparam int unsigned COMBINE_HIGH_LOW = 104;
  localparam int unsigned COMBINE_HIGH_WIDTH = 17;
  localparam int unsigned COMBINE_LOW_REGION_LOW = 121;
  localparam int unsigned COMBINE_LOW_REGION_WIDTH = 3;
  localparam int unsigned COMBINE_LOW_LOW = 124;
  localparam int unsigned COMBINE_LOW_WIDTH = 17;
  localparam int unsigned COMBINE_STRIDE_LOW = 141;
  localparam int unsigned COMBINE_STRIDE_WIDTH = 12;
  typedef struct packed {
    logic [102:0] zeros;
    logic [11:0] stride;
    logic [16:0] low;
    logic [2:0] low_region;
    logic [16:0] high;
    logic [2:0] high_region;
    logic [12:0] width;
    logic [12:0] skip;
    logic [13:0] slot;
    logic [10:0] rows;
    logic [11:0] src_stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } combine_t;

  // SETTLE, vector: turns 32-bit sums into 16-bit rows: sum / 2^15, floored and saturated.
  localparam int unsigned SETTLE_HIGH_REGION_LOW = 18;
  localparam int unsigned SETTLE_HIGH_REGION_WIDTH = 3;
  localparam int unsigned SETTLE_HIGH_LOW = 21;
  localparam int unsigned SETTLE_HIGH_WIDTH = 17;
  localparam int unsigned SETTLE_LOW_REGION_LOW = 38;
  localparam int unsigned SETTLE_LOW_REGION_WIDTH = 3;
  localparam int unsigned SETTLE_LOW_LOW = 41;
  localparam int unsigned SETTLE_LOW_WIDTH = 17;
  localparam int unsigned SETTLE_STRIDE_LOW = 58;
  localparam int unsigned SETTLE_STRIDE_WIDTH = 12;
  localparam int unsigned SETTLE_ROWS_LOW = 70;
  localparam int unsigned SETTLE_ROWS_WIDTH = 11;
  localparam int unsigned SETTLE_WIDTH_LOW = 81;
  localparam int unsigned SETTLE_WIDTH_WIDTH = 13;
  typedef struct packed {
    logic [161:0] zeros;
    logic [12:0] width;
    logic [10:0] rows;
    logic [11:0] stride;
    logic [16:0] low;
    logic [2:0] low_region;
    logic [16:0] high;
    logic [2:0] high_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } settle_t;

  // ENLARGE, vector: upsamples an image, bilinear or nearest.
  localparam int unsigned ENLARGE_SRC_REGION_LOW = 18;
  localparam int unsigned ENLARGE_SRC_REGION_WIDTH = 3;
  localparam int unsigned ENLARGE_SRC_LOW = 21;
  localparam int unsigned ENLARGE_SRC_WIDTH = 17;
  localparam int unsigned ENLARGE_SRC_WRAP_LOW = 38;
  localparam int unsigned ENLARGE_SRC_WRAP_WIDTH = 11;
  localparam int unsigned ENLARGE_WIDTH_LOW = 49;
  localparam int unsigned ENLARGE_WIDTH_WIDTH = 11;
  localparam int unsigned ENLARGE_HEIGHT_LOW = 60;
  localparam int unsigned ENLARGE_HEIGHT_WIDTH = 11;
  localparam int unsigned ENLARGE_STRIDE_LOW = 71;
  localparam int unsigned ENLARGE_STRIDE_WIDTH = 12;
  localparam int unsigned ENLARGE_FIRST_LOW = 83;
  localparam int unsigned ENLARGE_FIRST_WIDTH = 11;
  localparam int unsigned ENLARGE_ROWS_LOW = 94;
  localparam int unsigned ENLARGE_ROWS_WIDTH = 6;
  localparam int unsigned ENLARGE_DST_REGION_LOW = 100;
  localparam int unsigned ENLARGE_DST_REGION_WIDTH = 3;
  localparam int unsigned ENLARGE_DST_LOW = 103;
  localparam int unsigned ENLARGE_DST_WIDTH = 17;
  localparam int unsigned ENLARGE_DST_WRAP_LOW = 120;
  localparam int unsigned ENLARGE_DST_WRAP_WIDTH = 11;
  localparam int unsigned ENLARGE_FACTOR_LOW = 131;
  localparam int unsigned ENLARGE_FACTOR_WIDTH = 4;
  localparam int unsigned ENLARGE_NEAREST_LOW = 135;
  localparam int unsigned ENLARGE_NEAREST_WIDTH = 1;
  localparam int unsigned ENLARGE_WIDE_LOW = 136;
  localparam int unsigned ENLARGE_WIDE_WIDTH = 1;
  typedef struct packed {
    logic [118:0] zeros;
    logic wide;
    logic nearest;
    logic [3:0] factor;
    logic [10:0] dst_wrap;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [5:0] rows;
    logic [10:0] first;
    logic [11:0] stride;
    logic [10:0] height;
    logic [10:0] width;
    logic [10:0] src_wrap;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } enlarge_t;

  // ADD, vector: adds two tensors of the same layout, each multiplied to the scale of the result.
  localparam int unsigned ADD_A_REGION_LOW = 18;
  localparam int unsigned ADD_A_REGION_WIDTH = 3;
  localparam int unsigned ADD_A_LOW = 21;
  localparam int unsigned ADD_A_WIDTH = 17;
  localparam int unsigned ADD_A_WIDE_LOW = 38;
  localparam int unsigned ADD_A_WIDE_WIDTH = 1;
  localparam int unsigned ADD_B_REGION_LOW = 39;
  localparam int unsigned ADD_B_REGION_WIDTH = 3;
  localparam int unsigned ADD_B_LOW = 42;
  localparam int unsigned ADD_B_WIDTH = 17;
  localparam int unsigned ADD_B_WIDE_LOW = 59;
  localparam int unsigned ADD_B_WIDE_WIDTH = 1;
  localparam int unsigned ADD_DST_REGION_LOW = 60;
  localparam int unsigned ADD_DST_REGION_WIDTH = 3;
  localparam int unsigned ADD_DST_LOW = 63;
  localparam int unsigned ADD_DST_WIDTH = 17;
  localparam int unsigned ADD_WIDE_LOW = 80;
  localparam int unsigned ADD_WIDE_WIDTH = 1;
  localparam int unsigned ADD_SIZE_LOW = 81;
  localparam int unsigned ADD_SIZE_WIDTH = 14;
  localparam int unsigned ADD_MUL_A_LOW = 95;
  localparam int unsigned ADD_MUL_A_WIDTH = 15;
  localparam int unsigned ADD_MUL_B_LOW = 110;
  localparam int unsigned ADD_MUL_B_WIDTH = 15;
  localparam int unsigned ADD_OFFSET_LOW = 125;
  localparam int unsigned ADD_OFFSET_WIDTH = 24;
  localparam int unsigned ADD_SHIFT_LOW = 149;
  localparam int unsigned ADD_SHIFT_WIDTH = 6;
  localparam int unsigned ADD_ZERO_LOW = 155;
  localparam int unsigned ADD_ZERO_WIDTH = 8;
  localparam int unsigned ADD_LOW_LOW = 163;
  localparam int unsigned ADD_LOW_WIDTH = 8;
  typedef struct packed {
    logic [84:0] zeros;
    logic signed [7:0] low;
    logic signed [7:0] zero;
    logic [5:0] shift;
    logic signed [23:0] offset;
    logic signed [14:0] mul_b;
    logic signed [14:0] mul_a;
    logic [13:0] size;
    logic wide;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic b_wide;
    logic [16:0] b;
    logic [2:0] b_region;
    logic a_wide;
    logic [16:0] a;
    logic [2:0] a_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } add_t;

  // MAP, vector: replaces each byte by its entry of a table.
  localparam int unsigned MAP_SRC_REGION_LOW = 18;
  localparam int unsigned MAP_SRC_REGION_WIDTH = 3;
  localparam int unsigned MAP_SRC_LOW = 21;
  localparam int unsigned MAP_SRC_WIDTH = 17;
  localparam int unsigned MAP_DST_REGION_LOW = 38;
  localparam int unsigned MAP_DST_REGION_WIDTH = 3;
  localparam int unsigned MAP_DST_LOW = 41;
  localparam int unsigned MAP_DST_WIDTH = 17;
  localparam int unsigned MAP_SIZE_LOW = 58;
  localparam int unsigned MAP_SIZE_WIDTH = 14;
  localparam int unsigned MAP_FROM_REGION_LOW = 72;
  localparam int unsigned MAP_FROM_REGION_WIDTH = 3;
  localparam int unsigned MAP_FROM_LOW = 75;
  localparam int unsigned MAP_FROM_WIDTH = 17;
  typedef struct packed {
    logic [163:0] zeros;
    logic [16:0] from;
    logic [2:0] from_region;
    logic [13:0] size;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } map_t;

  // MEAN, vector: sums up each channel of pixels; at the end, requantises the sums to one row.
  localparam int unsigned MEAN_SRC_REGION_LOW = 18;
  localparam int unsigned MEAN_SRC_REGION_WIDTH = 3;
  localparam int unsigned MEAN_SRC_LOW = 21;
  localparam int unsigned MEAN_SRC_WIDTH = 17;
  localparam int unsigned MEAN_STRIDE_LOW = 38;
  localparam int unsigned MEAN_STRIDE_WIDTH = 12;
  localparam int unsigned MEAN_ROWS_LOW = 50;
  localparam int unsigned MEAN_ROWS_WIDTH = 11;
  localparam int unsigned MEAN_WIDTH_LOW = 61;
  localparam int unsigned MEAN_WIDTH_WIDTH = 13;
  localparam int unsigned MEAN_BEGIN_LOW = 74;
  localparam int unsigned MEAN_BEGIN_WIDTH = 1;
  localparam int unsigned MEAN_END_LOW = 75;
  localparam int unsigned MEAN_END_WIDTH = 1;
  localparam int unsigned MEAN_SRC_ZERO_LOW = 76;
  localparam int unsigned MEAN_SRC_ZERO_WIDTH = 8;
  localparam int unsigned MEAN_MUL_LOW = 84;
  localparam int unsigned MEAN_MUL_WIDTH = 17;
  localparam int unsigned MEAN_SHIFT_LOW = 101;
  localparam int unsigned MEAN_SHIFT_WIDTH = 6;
  localparam int unsigned MEAN_DST_REGION_LOW = 107;
  localparam int unsigned MEAN_DST_REGION_WIDTH = 3;
  localparam int unsigned MEAN_DST_LOW = 110;
  localparam int unsigned MEAN_DST_WIDTH = 17;
  localparam int unsigned MEAN_WIDE_LOW = 127;
  localparam int unsigned MEAN_WIDE_WIDTH = 1;
  localparam int unsigned MEAN_ZERO_LOW = 128;
  localparam int unsigned MEAN_ZERO_WIDTH = 8;
  localparam int unsigned MEAN_LOW_LOW = 136;
  localparam int unsigned MEAN_LOW_WIDTH = 8;
  typedef struct packed {
    logic [111:0] zeros;
    logic signed [7:0] low;
    logic signed [7:0] zero;
    logic wide;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [5:0] shift;
    logic [16:0] mul;
    logic signed [7:0] src_zero;
    logic end_;
    logic begin_;
    logic [12:0] width;
    logic [10:0] rows;
    logic [11:0] stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } mean_t;

  // CLASSES, vector: writes the channel of the largest value of each pixel, the lowest of equal ones, as a byte.
  localparam int unsigned CLASSES_SRC_REGION_LOW = 18;
  localparam int unsigned CLASSES_SRC_REGION_WIDTH = 3;
  localparam int unsigned CLASSES_SRC_LOW = 21;
  localparam int unsigned CLASSES_SRC_WIDTH = 17;
  localparam int unsigned CLASSES_SRC_WRAP_LOW = 38;
  localparam int unsigned CLASSES_SRC_WRAP_WIDTH = 11;
  localparam int unsigned CLASSES_WIDTH_LOW = 49;
  localparam int unsigned CLASSES_WIDTH_WIDTH = 11;
  localparam int unsigned CLASSES_HEIGHT_LOW = 60;
  localparam int unsigned CLASSES_HEIGHT_WIDTH = 11;
  localparam int unsigned CLASSES_STRIDE_LOW = 71;
  localparam int unsigned CLASSES_STRIDE_WIDTH = 12;
  localparam int unsigned CLASSES_WIDE_LOW = 83;
  localparam int unsigned CLASSES_WIDE_WIDTH = 1;
  localparam int unsigned CLASSES_CLASSES_LOW = 84;
  localparam int unsigned CLASSES_CLASSES_WIDTH = 9;
  localparam int unsigned CLASSES_ENLARGE_LOW = 93;
  localparam int unsigned CLASSES_ENLARGE_WIDTH = 1;
  localparam int unsigned CLASSES_FIRST_LOW = 94;
  localparam int unsigned CLASSES_FIRST_WIDTH = 12;
  localparam int unsigned CLASSES_ROWS_LOW = 106;
  localparam int unsigned CLASSES_ROWS_WIDTH = 6;
  localparam int unsigned CLASSES_DST_REGION_LOW = 112;
  localparam int unsigned CLASSES_DST_REGION_WIDTH = 3;
  localparam int unsigned CLASSES_DST_LOW = 115;
  localparam int unsigned CLASSES_DST_WIDTH = 17;
  localparam int unsigned CLASSES_DST_STRIDE_LOW = 132;
  localparam int unsigned CLASSES_DST_STRIDE_WIDTH = 12;
  typedef struct packed {
    logic [111:0] zeros;
    logic [11:0] dst_stride;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic [5:0] rows;
    logic [11:0] first;
    logic enlarge;
    logic [8:0] classes;
    logic wide;
    logic [11:0] stride;
    logic [10:0] height;
    logic [10:0] width;
    logic [10:0] src_wrap;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } classes_t;

  // RESCALE, vector: brings rows of values to another scale, or to another width.
  localparam int unsigned RESCALE_SRC_REGION_LOW = 18;
  localparam int unsigned RESCALE_SRC_REGION_WIDTH = 3;
  localparam int unsigned RESCALE_SRC_LOW = 21;
  localparam int unsigned RESCALE_SRC_WIDTH = 17;
  localparam int unsigned RESCALE_SRC_STRIDE_LOW = 38;
  localparam int unsigned RESCALE_SRC_STRIDE_WIDTH = 12;
  localparam int unsigned RESCALE_SRC_WIDE_LOW = 50;
  localparam int unsigned RESCALE_SRC_WIDE_WIDTH = 1;
  localparam int unsigned RESCALE_DST_REGION_LOW = 51;
  localparam int unsigned RESCALE_DST_REGION_WIDTH = 3;
  localparam int unsigned RESCALE_DST_LOW = 54;
  localparam int unsigned RESCALE_DST_WIDTH = 17;
  localparam int unsigned RESCALE_DST_STRIDE_LOW = 71;
  localparam int unsigned RESCALE_DST_STRIDE_WIDTH = 12;
  localparam int unsigned RESCALE_WIDE_LOW = 83;
  localparam int unsigned RESCALE_WIDE_WIDTH = 1;
  localparam int unsigned RESCALE_ROWS_LOW = 84;
  localparam int unsigned RESCALE_ROWS_WIDTH = 11;
  localparam int unsigned RESCALE_SIZE_LOW = 95;
  localparam int unsigned RESCALE_SIZE_WIDTH = 14;
  localparam int unsigned RESCALE_SRC_ZERO_LOW = 109;
  localparam int unsigned RESCALE_SRC_ZERO_WIDTH = 16;
  localparam int unsigned RESCALE_MUL_LOW = 125;
  localparam int unsigned RESCALE_MUL_WIDTH = 17;
  localparam int unsigned RESCALE_SHIFT_LOW = 142;
  localparam int unsigned RESCALE_SHIFT_WIDTH = 6;
  localparam int unsigned RESCALE_ZERO_LOW = 148;
  localparam int unsigned RESCALE_ZERO_WIDTH = 16;
  typedef struct packed {
    logic [91:0] zeros;
    logic signed [15:0] zero;
    logic [5:0] shift;
    logic [16:0] mul;
    logic signed [15:0] src_zero;
    logic [13:0] size;
    logic [10:0] rows;
    logic wide;
    logic [11:0] dst_stride;
    logic [16:0] dst;
    logic [2:0] dst_region;
    logic src_wide;
    logic [11:0] src_stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } rescale_t;

  // ROUTE, router: chooses the k experts of each token with their weights, and fills the experts' queues.
  localparam int unsigned ROUTE_SRC_REGION_LOW = 18;
  localparam int unsigned ROUTE_SRC_REGION_WIDTH = 3;
  localparam int unsigned ROUTE_SRC_LOW = 21;
  localparam int unsigned ROUTE_SRC_WIDTH = 17;
  localparam int unsigned ROUTE_SRC_STRIDE_LOW = 38;
  localparam int unsigned ROUTE_SRC_STRIDE_WIDTH = 12;
  localparam int unsigned ROUTE_TOKEN_LOW = 50;
  localparam int unsigned ROUTE_TOKEN_WIDTH = 13;
  localparam int unsigned ROUTE_ROWS_LOW = 63;
  localparam int unsigned ROUTE_ROWS_WIDTH = 11;
  localparam int unsigned ROUTE_EXPERTS_LOW = 74;
  localparam int unsigned ROUTE_EXPERTS_WIDTH = 9;
  localparam int unsigned ROUTE_K_LOW = 83;
  localparam int unsigned ROUTE_K_WIDTH = 4;
  localparam int unsigned ROUTE_NORMALIZE_LOW = 87;
  localparam int unsigned ROUTE_NORMALIZE_WIDTH = 1;
  localparam int unsigned ROUTE_THRESHOLD_LOW = 88;
  localparam int unsigned ROUTE_THRESHOLD_WIDTH = 16;
  localparam int unsigned ROUTE_FROM_REGION_LOW = 104;
  localparam int unsigned ROUTE_FROM_REGION_WIDTH = 3;
  localparam int unsigned ROUTE_FROM_LOW = 107;
  localparam int unsigned ROUTE_FROM_WIDTH = 17;
  localparam int unsigned ROUTE_CACHE_LOW = 124;
  localparam int unsigned ROUTE_CACHE_WIDTH = 9;
  localparam int unsigned ROUTE_LINES_LOW = 133;
  localparam int unsigned ROUTE_LINES_WIDTH = 17;
  localparam int unsigned ROUTE_EARLY_LOW = 150;
  localparam int unsigned ROUTE_EARLY_WIDTH = 9;
  localparam int unsigned ROUTE_BEGIN_LOW = 159;
  localparam int unsigned ROUTE_BEGIN_WIDTH = 1;
  localparam int unsigned ROUTE_END_LOW = 160;
  localparam int unsigned ROUTE_END_WIDTH = 1;
  localparam int unsigned ROUTE_COARSE_LOW = 161;
  localparam int unsigned ROUTE_COARSE_WIDTH = 2;
  typedef struct packed {
    logic [92:0] zeros;
    logic [1:0] coarse;
    logic end_;
    logic begin_;
    logic [8:0] early;
    logic [16:0] lines;
    logic [8:0] cache;
    logic [16:0] from;
    logic [2:0] from_region;
    logic [15:0] threshold;
    logic normalize;
    logic [3:0] k;
    logic [8:0] experts;
    logic [10:0] rows;
    logic [12:0] token;
    logic [11:0] src_stride;
    logic [16:0] src;
    logic [2:0] src_region;
    logic [5:0] signals;
    logic [5:0] waits;
    code_e code;
  } route_t;

  // The unit that executes an operation; of the sequencer's own and of codes that are none, any.
  function automatic unit_e unit_of(logic [5:0] code);
    case (code)
      OP_LOAD, OP_STORE: return UNIT_DATA;
      OP_LINEAR, OP_CONV, OP_SCORES, OP_MIX: return UNIT_MATRIX;
      OP_SOFTMAX: return UNIT_SOFTMAX;
      OP_NORM, OP_OPEN, OP_COMBINE, OP_SETTLE, OP_ENLARGE, OP_ADD, OP_MAP, OP_MEAN, OP_CLASSES, OP_RESCALE: return UNIT_VECTOR;
      OP_ROUTE: return UNIT_ROUTER;
      default: return UNIT_WEIGHTS;
    endcase
  endfunction

  // Whether a unit may be given the instruction: a code of the table, zeros behind its operands, values
  // that its operands may have, no masks of the sequencer's own, no token order.
  function automatic logic is_legal(word_t word);
    case (word[CODE_LOW +: CODE_WIDTH])
      OP_HEAD: return ~|word[17:6] && ~|word[255:195];
      OP_END: return ~|word[17:6] && ~|word[255:18];
      OP_STREAM: return word[83:70] <= 14'd256 && ~|word[104] && (word[106:105] == 2'd0) && ~|word[255:107];
      OP_LOAD: return (word[74:72] == 3'd0 || word[74:72] == 3'd1 || word[74:72] == 3'd2 || word[74:72] == 3'd6) && ~|word[255:129];
      OP_STORE: return (word[74:72] == 3'd0 || word[74:72] == 3'd2) && ~|word[255:129];
      OP_LINEAR: return (word[20:18] == 3'd0 || word[20:18] == 3'd1 || word[20:18] == 3'd2 || word[20:18] == 3'd3 || word[20:18] == 3'd4 || word[20:18] == 3'd5) && (word[89:87] == 3'd0 || word[89:87] == 3'd1 || word[89:87] == 3'd3 || word[89:87] == 3'd4 || word[89:87] == 3'd5) && (word[191:189] == 3'd0) && word[222:209] <= 14'd256 && ~|word[223] && (word[239:238] == 2'd0 || word[239:238] == 2'd1) && ~|word[255:240];
      OP_CONV: return (word[20:18] == 3'd1 || word[20:18] == 3'd2) && (word[128:126] == 3'd0);
      OP_SCORES: return (word[20:18] == 3'd5) && (word[78:76] == 3'd1) && (word[124:122] == 3'd3 || word[124:122] == 3'd4) && ~|word[255:160];
      OP_MIX: return (word[20:18] == 3'd3 || word[20:18] == 3'd4) && (word[67:65] == 3'd1) && (word[143:141] == 3'd5) && ~|word[255:196];
      OP_SOFTMAX: return (word[20:18] == 3'd3 || word[20:18] == 3'd4) && ~|word[255:77];
      OP_NORM: return (word[20:18] == 3'd0) && (word[52:50] == 3'd2) && (word[178:176] == 3'd6) && ~|word[255:196];
      OP_OPEN: return (word[20:18] == 3'd0) && (word[40:38] == 3'd1) && ~|word[255:94];
      OP_COMBINE: return (word[20:18] == 3'd3 || word[20:18] == 3'd4 || word[20:18] == 3'd5) && word[74:61] <= 14'd256 && (word[103:101] == 3'd0) && (word[123:121] == 3'd1) && ~|word[255:153];
      OP_SETTLE: return (word[20:18] == 3'd0) && (word[40:38] == 3'd1) && ~|word[255:94];
      OP_ENLARGE: return (word[20:18] == 3'd0 || word[20:18] == 3'd1 || word[20:18] == 3'd2) && (word[102:100] == 3'd0 || word[102:100] == 3'd1) && (word[134:131] == 4'd2 || word[134:131] == 4'd4 || word[134:131] == 4'd8) && ~|word[255:137];
      OP_ADD: return (word[20:18] == 3'd0 || word[20:18] == 3'd1 || word[20:18] == 3'd2) && (word[41:39] == 3'd0 || word[41:39] == 3'd1 || word[41:39] == 3'd2) && (word[62:60] == 3'd0) && ~|word[255:171];
      OP_MAP: return (word[20:18] == 3'd0 || word[20:18] == 3'd1 || word[20:18] == 3'd2) && (word[40:38] == 3'd0) && (word[74:72] == 3'd6) && ~|word[255:92];
      OP_MEAN: return (word[20:18] == 3'd0 || word[20:18] == 3'd1 || word[20:18] == 3'd2) && (word[109:107] == 3'd0) && ~|word[255:144];
      OP_CLASSES: return (word[20:18] == 3'd0 || word[20:18] == 3'd1 || word[20:18] == 3'd2) && (word[114:112] == 3'd0) && ~|word[255:144];
      OP_RESCALE: return (word[20:18] == 3'd0 || word[20:18] == 3'd1 || word[20:18] == 3'd2) && (word[53:51] == 3'd0) && ~|word[255:164];
      OP_ROUTE: return (word[20:18] == 3'd5) && (word[106:104] == 3'd6) && ~|word[132:124] && ~|word[255:163];
      default: return 1'b0;
    endcase
  endfunction

  /* verilator lint_on UNUSEDPARAM */
endpackage
