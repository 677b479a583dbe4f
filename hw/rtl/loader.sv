// Loads the weights of LINEARs from the weight ring: tables, column parameters and tiles, LOAD_ROWS granules a cycle.
//
// In:  layer, the next one of the ring, at layer_valid and layer_ready; before its credits are there, since its weights
//      wait in the array until its first row comes. One without rows takes nothing from the ring.
// Ring: read_valid, read_ready: read_count granules of COLUMNS bytes from read_granule on, of the ring_lines lines of the
//      ring, behind whose last granule the first one follows. Data come in order with data_valid, as LOAD_ROWS granules,
//      the first lowest. The ring's head is followed here: `offset` counts from the lines that the LINEARs before release.
// Out: beats at beat_valid and beat_ready, in the order of the ring: a table's, the parameters' of a tile of columns (8 bytes
//      a column), a tile's. The beats of each begin with a whole beat and count from 0.
module loader
  import edgemtl_isa_pkg::LINE_BYTES;
  import matrix_pkg::*;
#(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned DEPTH     = 16,
    localparam int unsigned TABLE    = 256 / COLUMNS,  // granules of a table
    localparam int unsigned PARAMETERS = 8,            // and of the parameters of a tile of columns
    localparam int unsigned MOST     = ROWS > TABLE ? ROWS : TABLE,
    localparam int unsigned COUNT    = $clog2(LOAD_ROWS + 1),
    localparam int unsigned LINE     = LINE_BYTES / COLUMNS,  // granules of a line
    localparam int unsigned ADDRESS  = 17 + $clog2(LINE)
) (
    input  logic                           clk,
    input  logic                           reset,
    input  logic [16:0]                    ring_lines,
    input  logic                           layer_valid,
    output logic                           layer_ready,
    /* verilator lint_off UNUSEDSIGNAL */
    input  layer_t                         layer,  // the walk reads the other operands
    /* verilator lint_on UNUSEDSIGNAL */
    output logic                           read_valid,
    input  logic                           read_ready,
    output logic [ADDRESS-1:0]             read_granule,
    output logic [COUNT-1:0]               read_count,
    input  logic                           data_valid,
    input  logic [LOAD_ROWS*COLUMNS*8-1:0] data,
    output logic                           beat_valid,
    input  logic                           beat_ready,
    output beat_t                          beat,
    output logic [LOAD_ROWS*COLUMNS*8-1:0] beat_data
);
  localparam int unsigned SIZE = $clog2(MOST + 1);
  if (LINE * COLUMNS != LINE_BYTES || TABLE * COLUMNS != 256) begin : g_sizes
    $fatal(1, "COLUMNS must divide a line of 64 bytes");
  end

  // The next instruction: where its weights begin, its sizes.
  function automatic logic [16:0] wrapped(logic [16:0] line, logic [16:0] more, logic [16:0] lines);
    logic [17:0] sum;
    sum = 18'(line) + 18'(more);
    return 17'(sum < 18'(lines) ? sum : sum - 18'(lines));
  endfunction

  logic [16:0] head;
  logic waits, wait_table;  // an instruction waits for the one before
  logic [16:0] wait_line;
  logic [13:0] wait_k;
  logic [12:0] wait_n;
  logic take;
  assign layer_ready = !waits || take;

  always_ff @(posedge clk) begin
    if (take) waits <= 1'b0;
    if (layer_valid && layer_ready) begin
      waits      <= layer.rows != '0;
      wait_table <= layer.table_;
      wait_line  <= wrapped(head, layer.offset, ring_lines);
      wait_k     <= layer.k;
      wait_n     <= layer.n;
      head       <= wrapped(head, layer.release_, ring_lines);
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
  logic [7:0] number;
  logic [13:0] k, k_left;
  logic [12:0] n_left;
  logic [ADDRESS-1:0] granule, granules;
  logic which;
  logic room, go, part_ends, tile_ends, closes, ends;

  assign granules     = ADDRESS'(ring_lines) * ADDRESS'(LINE);
  assign read_valid   = active && room;
  assign read_granule = granule;
  assign part_ends    = 32'(left) <= LOAD_ROWS;
  assign read_count   = part_ends ? COUNT'(left) : COUNT'(LOAD_ROWS);
  assign go           = read_valid && read_ready;
  assign tile_ends    = part_ends && part == PART_WEIGHTS;
  assign closes       = tile_ends && 32'(k_left) <= ROWS;
  assign ends         = closes && 32'(n_left) <= COLUMNS;
  assign take         = waits && (!active || (go && ends));

  function automatic logic [SIZE-1:0] rows_of(logic [13:0] bytes);
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
          k_left <= k_left - 14'(ROWS);
          left   <= rows_of(k_left - 14'(ROWS));
        end else begin
          k_left <= k;
          n_left <= n_left - 13'(COLUMNS);
          part   <= PART_COLUMN;
          left   <= SIZE'(PARAMETERS);
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
    end
  end

  // Beats on their way, and those that wait here.
  logic [$clog2(DEPTH+1)-1:0] asked;
  logic there, named, gives, names_fit, beats_fit;
  beat_t request;
  assign room    = 32'(asked) != DEPTH;
  assign request = '{part: part, number: number, ends: tile_ends, closes: closes, last: ends, which: which};

  fifo #(.WIDTH($bits(beat_t)), .DEPTH(DEPTH)) names (
      .clk,
      .reset,
      .in_valid(go),
      .in_ready(names_fit),
      .in_data(request),
      .out_valid(named),
      .out_ready(gives),
      .out_data(beat)
  );
  fifo #(.WIDTH(LOAD_ROWS * COLUMNS * 8), .DEPTH(DEPTH)) beats (
      .clk,
      .reset,
      .in_valid(data_valid),
      .in_ready(beats_fit),
      .in_data(data),
      .out_valid(there),
      .out_ready(gives),
      .out_data(beat_data)
  );
  assign beat_valid = there && named;
  assign gives      = beat_valid && beat_ready;

  always_ff @(posedge clk) begin
    asked <= reset ? '0 : asked + $bits(asked)'(go) - $bits(asked)'(gives);
`ifndef SYNTHESIS
    if (!reset && ((go && !names_fit) || (data_valid && !beats_fit))) $fatal(1, "more beats than were asked for");
`endif
  end
endmodule
