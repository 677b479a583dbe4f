// Loads the weights of LINEARs from the weight ring: tables, column parameters and tiles, LOAD_ROWS granules a cycle.
//
// In:  word, the next LINEAR, where word_valid; it is taken where word_ready, before its credits are there, since its
//      weights wait in the array until its first row comes. One without rows takes nothing from the ring.
// Ring: read_valid, read_ready: read_count granules of COLUMNS bytes from read_granule on, of the ring_lines lines of the
//      ring, behind whose last granule the first one follows. Data come in order with data_valid, as LOAD_ROWS granules,
//      the first lowest. The ring's head is followed here: `offset` counts from the lines that the LINEARs before release.
// Out: a beat a cycle to what is loaded: of a table (table_valid), of the parameters of a tile of columns (column_valid)
//      or of a tile (weights_valid), beat 0 first. Beats of a tile, and those in front of it, begin in the cycle of the
//      swap to the tile before at the earliest. tile_ready: all of the next tile is there; swap takes it.
//      A table begins where table_free[table_which].
// For each tile of columns 8 * COLUMNS bytes of parameters go to the next bank, counted modulo BANKS.
module loader
  import edgemtl_isa_pkg::*;
#(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned BANKS     = 16,
    parameter int unsigned DEPTH     = 16,
    localparam int unsigned TABLE    = 256 / COLUMNS,  // granules of a table
    localparam int unsigned PARAMETERS = 8,            // and of the parameters of a tile of columns
    localparam int unsigned MOST     = ROWS > TABLE ? ROWS : TABLE,
    localparam int unsigned BEAT     = $clog2((MOST + LOAD_ROWS - 1) / LOAD_ROWS + 1),
    localparam int unsigned COUNT    = $clog2(LOAD_ROWS + 1),
    localparam int unsigned LINE     = LINE_BYTES / COLUMNS,  // granules of a line
    localparam int unsigned ADDRESS  = 17 + $clog2(LINE)
) (
    input  logic                           clk,
    input  logic                           reset,
    input  logic [16:0]                    ring_lines,
    input  logic                           word_valid,
    output logic                           word_ready,
    input  word_t                          word,
    output logic                           read_valid,
    input  logic                           read_ready,
    output logic [ADDRESS-1:0]             read_granule,
    output logic [COUNT-1:0]               read_count,
    input  logic                           data_valid,
    input  logic [LOAD_ROWS*COLUMNS*8-1:0] data,
    input  logic                           swap,
    output logic                           tile_ready,
    input  logic [1:0]                     table_free,
    output logic                           table_valid,
    output logic                           table_which,
    output logic                           column_valid,
    output logic [$clog2(BANKS)-1:0]       column_bank,
    output logic                           weights_valid,
    output logic [BEAT-1:0]                beat,
    output logic [LOAD_ROWS*COLUMNS*8-1:0] beat_data
);
  localparam int unsigned SIZE = $clog2(MOST + 1);
  typedef enum logic [1:0] {PART_TABLE, PART_COLUMN, PART_WEIGHTS} part_e;
  typedef struct packed {
    part_e                    part;
    logic [BEAT-1:0]          beat;
    logic                     ends;  // a tile
    logic                     which;
    logic [$clog2(BANKS)-1:0] bank;
  } beat_t;

  if (LINE * COLUMNS != LINE_BYTES || TABLE * COLUMNS != 256) begin : g_sizes
    $fatal(1, "COLUMNS must divide a line of 64 bytes");
  end

  // The next instruction: where its weights begin, its sizes.
  /* verilator lint_off UNUSEDSIGNAL */
  linear_t given;
  /* verilator lint_on UNUSEDSIGNAL */
  assign given = word;

  function automatic logic [16:0] wrapped(logic [16:0] line, logic [16:0] more, logic [16:0] lines);
    logic [17:0] sum;
    sum = 18'(line) + 18'(more);
    return 17'(sum < 18'(lines) ? sum : sum - 18'(lines));
  endfunction

  logic [16:0] head;
  logic waits, wait_table;  // an instruction waits for the one before
  logic [16:0] wait_line;
  logic [12:0] wait_k, wait_n;
  logic take;
  assign word_ready = !waits || take;

  always_ff @(posedge clk) begin
    if (take) waits <= 1'b0;
    if (word_valid && word_ready) begin
      waits      <= given.rows != '0;
      wait_table <= given.table_;
      wait_line  <= wrapped(head, given.offset, ring_lines);
      wait_k     <= given.k;
      wait_n     <= given.n;
      head       <= wrapped(head, given.release_, ring_lines);
    end
    if (reset) begin
      waits <= 1'b0;
      head  <= '0;
    end
  end

  // Requests, a beat a cycle.
  logic active;
  part_e part;
  logic [SIZE-1:0] left;  // granules of the part
  logic [BEAT-1:0] number;
  logic [12:0] k, k_left, n_left;
  logic [ADDRESS-1:0] granule, granules;
  logic which;
  logic [$clog2(BANKS)-1:0] bank;
  logic room, go, part_ends, tile_ends, ends;

  assign granules     = ADDRESS'(ring_lines) * ADDRESS'(LINE);
  assign read_valid   = active && room;
  assign read_granule = granule;
  assign part_ends    = 32'(left) <= LOAD_ROWS;
  assign read_count   = part_ends ? COUNT'(left) : COUNT'(LOAD_ROWS);
  assign go           = read_valid && read_ready;
  assign tile_ends    = part_ends && part == PART_WEIGHTS;
  assign ends         = tile_ends && 32'(k_left) <= ROWS && 32'(n_left) <= COLUMNS;
  assign take         = waits && (!active || (go && ends));

  function automatic logic [SIZE-1:0] rows_of(logic [12:0] bytes);
    return SIZE'(32'(bytes) < ROWS ? 32'(bytes) : ROWS);
  endfunction

  logic [ADDRESS:0] following;
  assign following = (ADDRESS + 1)'(granule) + (ADDRESS + 1)'(read_count);

  always_ff @(posedge clk) begin
    if (go) begin
      granule <= ADDRESS'(following < (ADDRESS + 1)'(granules) ? following : following - (ADDRESS + 1)'(granules));
      left    <= left - SIZE'(LOAD_ROWS);
      number  <= number + 1'b1;
      if (part_ends) begin
        number <= '0;
        if (part == PART_TABLE) begin
          part <= PART_COLUMN;
          left <= SIZE'(PARAMETERS);
        end else if (part == PART_COLUMN) begin
          part <= PART_WEIGHTS;
          left <= rows_of(k);
        end else if (32'(k_left) > ROWS) begin
          k_left <= k_left - 13'(ROWS);
          left   <= rows_of(k_left - 13'(ROWS));
        end else begin
          k_left <= k;
          n_left <= n_left - 13'(COLUMNS);
          part   <= PART_COLUMN;
          left   <= SIZE'(PARAMETERS);
          bank   <= bank + 1'b1;
        end
      end
      if (ends) active <= 1'b0;
    end
    if (take) begin
      active  <= 1'b1;
      granule <= ADDRESS'(wait_line) * ADDRESS'(LINE);
      part    <= wait_table ? PART_TABLE : PART_COLUMN;
      left    <= wait_table ? SIZE'(TABLE) : SIZE'(PARAMETERS);
      number  <= '0;
      k       <= wait_k;
      k_left  <= wait_k;
      n_left  <= wait_n;
      which   <= which ^ wait_table;
    end
    if (reset) begin
      active <= 1'b0;
      which  <= 1'b0;
      bank   <= '0;
    end
  end

  // Beats on their way, and those that wait here.
  logic [$clog2(DEPTH+1)-1:0] asked;
  logic beat_there, named, gives;
  beat_t request, given_beat;
  assign room    = 32'(asked) != DEPTH;
  assign request = '{part, number, tile_ends, which, bank};
  always_ff @(posedge clk) asked <= reset ? '0 : asked + $bits(asked)'(go) - $bits(asked)'(gives);

  logic unused_names, unused_beats;
  fifo #(.WIDTH($bits(beat_t)), .DEPTH(DEPTH)) names (
      .clk,
      .reset,
      .in_valid(go),
      .in_ready(unused_names),
      .in_data(request),
      .out_valid(named),
      .out_ready(gives),
      .out_data(given_beat)
  );
  fifo #(.WIDTH(LOAD_ROWS * COLUMNS * 8), .DEPTH(DEPTH)) beats (
      .clk,
      .reset,
      .in_valid(data_valid),
      .in_ready(unused_beats),
      .in_data(data),
      .out_valid(beat_there),
      .out_ready(gives),
      .out_data(beat_data)
  );

  logic may;
  assign may   = given_beat.part != PART_TABLE || given_beat.beat != '0 || table_free[given_beat.which];
  assign gives = beat_there && named && may && (!tile_ready || swap);

  always_ff @(posedge clk) begin
    if (swap) tile_ready <= 1'b0;
    if (weights_valid && given_beat.ends) tile_ready <= 1'b1;
    if (reset) tile_ready <= 1'b0;
  end

  assign beat          = given_beat.beat;
  assign table_which   = given_beat.which;
  assign column_bank   = given_beat.bank;
  assign table_valid   = gives && given_beat.part == PART_TABLE;
  assign column_valid  = gives && given_beat.part == PART_COLUMN;
  assign weights_valid = gives && given_beat.part == PART_WEIGHTS;
endmodule
