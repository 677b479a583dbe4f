// Everything that is loaded, instruction by instruction: weights from the ring, values or keys from a region.
//
// In:  layer, the next instruction; look_valid, look_ready: it can be seen, and what it has in the ring may be loaded;
//      start_valid, start_ready: it starts, after that, and what it has in a region may be loaded.
// Ports `weight`, `value` and `key` as those of the matrix unit.
// Out: a beat a cycle, of a table, of the parameters of a tile of columns, or of a tile of weights; parameters go to bank
//      beat_bank. tile_ready: all of the next tile is there; swap takes it, and the next beat comes in that cycle at the
//      earliest. A table begins where table_free[beat.which]. bias: of a tile of columns of MIX or SCORES.
module weight_load
  import edgemtl_isa_pkg::LINE_BYTES;
  import matrix_pkg::*;
#(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned LANES     = 2,
    parameter int unsigned TURNS     = 32,    // instructions that can be seen before the first one is loaded
    localparam int unsigned LOAD     = LOAD_ROWS * COLUMNS,
    localparam int unsigned RING     = 17 + $clog2(LINE_BYTES / COLUMNS)
) (
    input  logic                             clk,
    input  logic                             reset,
    input  logic [16:0]                      ring_lines,
    input  logic                             look_valid,
    output logic                             look_ready,
    input  logic                             start_valid,
    output logic                             start_ready,
    input  layer_t                           layer,
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
    input  logic                             swap,
    output logic                             tile_ready,
    input  logic [1:0]                       table_free,
    output logic                             table_valid,
    output logic                             column_valid,
    output logic                             weights_valid,
    output beat_t                            beat,
    output logic [BANK-1:0]                  beat_bank,
    output logic [LOAD*8-1:0]                beat_data,
    output logic                             bias_valid,
    output logic [BANK-1:0]                  bias_bank,
    output logic [COLUMNS*27-1:0]            bias_data
);
  logic from_ring, empty, values_ready, keys_ready, ring_ready, turns_ready;
  assign empty       = layer.rows == '0;
  assign from_ring   = layer.source == FROM_RING;
  assign look_ready  = turns_ready && (!from_ring || ring_ready);
  assign start_ready = values_ready && keys_ready;

  // Whose weights come next.
  logic turn_valid, turn_ends;
  source_e turn;
  fifo #(.WIDTH($bits(source_e)), .DEPTH(TURNS)) turns (
      .clk,
      .reset,
      .in_valid(look_valid && look_ready && !empty),
      .in_ready(turns_ready),
      .in_data(layer.source),
      .out_valid(turn_valid),
      .out_ready(turn_ends),
      .out_data({turn})
  );

  // Beats of weights, parameters and tables, and who takes them.
  logic ring_valid, value_valid, key_valid, beat_valid, takes;
  beat_t ring_beat, value_beat, key_beat;
  logic [LOAD*8-1:0] ring_data, value_beat_data, key_beat_data;

  loader #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .LOAD_ROWS(LOAD_ROWS)
  ) ring_weights (
      .clk,
      .reset,
      .ring_lines,
      .layer_valid(look_valid && look_ready && from_ring),
      .layer_ready(ring_ready),
      .layer,
      .read_valid(weight_read_valid),
      .read_ready(weight_read_ready),
      .read_granule(weight_read_granule),
      .read_count(weight_read_count),
      .data_valid(weight_data_valid),
      .data(weight_data),
      .beat_valid(ring_valid),
      .beat_ready(takes && turn == FROM_RING),
      .beat(ring_beat),
      .beat_data(ring_data)
  );
  value_loader #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .LANES(LANES),
      .LOAD_ROWS(LOAD_ROWS)
  ) values_of_keys (
      .clk,
      .reset,
      .layer_valid(start_valid && layer.source == FROM_VALUES && !empty),
      .layer_ready(values_ready),
      .layer,
      .read_valid(value_read_valid),
      .read_ready(value_read_ready),
      .read_region(value_read_region),
      .read_granule(value_read_granule),
      .read_stride(value_read_stride),
      .read_count(value_read_count),
      .data_valid(value_data_valid),
      .data(value_data),
      .beat_valid(value_valid),
      .beat_ready(takes && turn == FROM_VALUES),
      .beat(value_beat),
      .beat_data(value_beat_data)
  );

  key_loader #(
      .ROWS(ROWS),
      .COLUMNS(COLUMNS),
      .LOAD_ROWS(LOAD_ROWS)
  ) keys (
      .clk,
      .reset,
      .layer_valid(start_valid && layer.source == FROM_KEYS && !empty),
      .layer_ready(keys_ready),
      .layer,
      .read_valid(key_read_valid),
      .read_ready(key_read_ready),
      .read_region(key_read_region),
      .read_granule(key_read_granule),
      .read_count(key_read_count),
      .data_valid(key_data_valid),
      .data(key_data),
      .beat_valid(key_valid),
      .beat_ready(takes && turn == FROM_KEYS),
      .beat(key_beat),
      .beat_data(key_beat_data)
  );

  always_comb
    case (turn)
      FROM_VALUES: {beat_valid, beat, beat_data} = {value_valid, value_beat, value_beat_data};
      FROM_KEYS:   {beat_valid, beat, beat_data} = {key_valid, key_beat, key_beat_data};
      default:     {beat_valid, beat, beat_data} = {ring_valid, ring_beat, ring_data};
    endcase
  assign takes         = turn_valid && beat_valid && (!tile_ready || swap)
      && (beat.part != PART_TABLE || beat.number != '0 || table_free[beat.which]);
  assign turn_ends     = takes && beat.last;
  assign table_valid   = takes && beat.part == PART_TABLE;
  assign column_valid  = takes && beat.part == PART_COLUMN;
  assign weights_valid = takes && beat.part == PART_WEIGHTS;

  always_ff @(posedge clk) begin
    if (swap) tile_ready <= 1'b0;
    if (weights_valid && beat.ends) tile_ready <= 1'b1;
    if (weights_valid && beat.closes) beat_bank <= beat_bank + 1'b1;
    if (reset) begin
      tile_ready <= 1'b0;
      beat_bank  <= '0;
    end
  end

  column_sums #(
      .ROWS(LOAD_ROWS),
      .COLUMNS(COLUMNS),
      .BANK(BANK)
  ) biases (
      .clk,
      .reset,
      .in_valid(weights_valid && turn != FROM_RING),
      .in_closes(beat.closes),
      .in_bank(beat_bank),
      .in_data(turn == FROM_VALUES ? beat_data : '0),  // scores have no bias
      .out_valid(bias_valid),
      .out_bank(bias_bank),
      .out_bias(bias_data)
  );
endmodule
