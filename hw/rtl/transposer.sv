// Keys become rows of weights: key t of a tile is column t of the array.
//
// In:  a key of ROWS bytes a cycle at in_valid and in_ready; in_ends with the last one of a tile of at most COLUMNS keys,
//      with the tile's beats in_beats and its in_tag.
// Out: beats of LOAD_ROWS rows, byte r * COLUMNS + t is byte LOAD_ROWS * out_number + r of key t; out_ends with the last.
//      Columns of keys that a tile does not have are anything.
// Two tiles: one is filled while the other leaves. A key is words of LOAD_ROWS bytes; word w of key t lies in bank
// (t + w) mod COLUMNS at place t, so a key's words are written, and a word of all keys read, one in each bank.
module transposer #(
    parameter int unsigned ROWS      = 16,
    parameter int unsigned COLUMNS   = 16,
    parameter int unsigned LOAD_ROWS = 2,
    parameter int unsigned TAG       = 1,
    localparam int unsigned WORDS    = ROWS / LOAD_ROWS,
    localparam int unsigned COUNT    = $clog2(WORDS + 1)
) (
    input  logic                           clk,
    input  logic                           reset,
    input  logic                           in_valid,
    output logic                           in_ready,
    input  logic [ROWS*8-1:0]              in_data,
    input  logic                           in_ends,
    input  logic [COUNT-1:0]               in_beats,
    input  logic [TAG-1:0]                 in_tag,
    output logic                           out_valid,
    input  logic                           out_ready,
    output logic [LOAD_ROWS*COLUMNS*8-1:0] out_data,
    output logic [COUNT-1:0]               out_number,
    output logic                           out_ends,
    output logic [TAG-1:0]                 out_tag
);
  localparam int unsigned BANK = $clog2(COLUMNS);
  localparam int unsigned WORD = LOAD_ROWS * 8;
  typedef logic [BANK-1:0] bank_t;

  if (COLUMNS != 1 << BANK || WORDS > COLUMNS || WORDS * LOAD_ROWS != ROWS) begin : g_sizes
    $fatal(1, "COLUMNS must be a power of two and at least ROWS / LOAD_ROWS");
  end

  logic into, from;  // the halves that are filled and read
  logic [1:0] full;
  bank_t key;
  logic [COUNT-1:0] beats[2], number;
  logic [TAG-1:0] tags[2];
  logic enters, reads, read_ends;
  assign in_ready  = !full[into];
  assign enters    = in_valid && in_ready;
  assign reads     = full[from] && (!out_valid || out_ready);
  assign read_ends = number == beats[from] - 1'b1;

  logic [COLUMNS*WORD-1:0] read;  // by bank
  for (genvar b = 0; b < COLUMNS; b++) begin : g_bank
    logic [WORD-1:0] memory[2*COLUMNS];
    bank_t word, place;
    assign word  = bank_t'(b) - key;
    assign place = bank_t'(b) - bank_t'(number);
    always_ff @(posedge clk)
      if (enters && 32'(word) < WORDS) memory[{into, key}] <= in_data[32'(word)%WORDS*WORD+:WORD];
    assign read[b*WORD+:WORD] = memory[{from, place}];
  end

  always_ff @(posedge clk) begin
    if (enters) begin
      key <= key + 1'b1;
      if (in_ends) begin
        key         <= '0;
        full[into]  <= 1'b1;
        beats[into] <= in_beats;
        tags[into]  <= in_tag;
        into        <= !into;
      end
    end
    if (out_ready) out_valid <= 1'b0;
    if (reads) begin
      out_valid  <= 1'b1;
      out_number <= number;
      out_ends   <= read_ends;
      out_tag    <= tags[from];
      number     <= number + 1'b1;
      for (int unsigned t = 0; t < COLUMNS; t++)
        for (int unsigned r = 0; r < LOAD_ROWS; r++)
          out_data[(r*COLUMNS+t)*8+:8] <= read[32'(bank_t'(t)+bank_t'(number))*WORD+r*8+:8];
      if (read_ends) begin
        number     <= '0;
        full[from] <= 1'b0;
        from       <= !from;
      end
    end
    if (reset) begin
      {into, from, full, out_valid} <= '0;
      key    <= '0;
      number <= '0;
    end
  end
endmodule
