// CRC-32 (IEEE 802.3) of a stream, an instruction a cycle.
//
// In:  a word where `valid`; `first` with a HEAD, which begins a new sum and whose `crc` field counts as 0.
// Out: the sum of all words up to and with that of 2 cycles before.
// A sum is linear in its state and in the word: state' = advance(state) ^ contribution(word).
module stream_crc
  import edgemtl_isa_pkg::*;
(
    input  logic         clk,
    input  logic         valid,
    input  logic         first,
    input  word_t        word,
    output logic  [31:0] crc
);
  localparam logic [31:0] POLYNOMIAL = 32'hedb88320;  // reflected

  // The state behind a word of 256 bits, lowest bit first.
  function automatic logic [31:0] advance(logic [31:0] state, word_t bits);
    for (int i = 0; i < WORD_BITS; i++) state = state >> 1 ^ (state[0] ^ bits[i] ? POLYNOMIAL : '0);
    return state;
  endfunction

  word_t       counted;
  logic [31:0] contribution;
  logic [31:0] state;
  logic        comes;
  logic        begins;

  always_comb begin
    counted = word;
    if (first) counted[HEAD_CRC_LOW+:HEAD_CRC_WIDTH] = '0;
  end

  always_ff @(posedge clk) begin
    comes        <= valid;
    begins       <= first;
    contribution <= advance('0, counted);
    if (comes) state <= advance(begins ? '1 : state, '0) ^ contribution;
  end

  assign crc = ~state;
endmodule
