// CRC-32 (IEEE 802.3) of a stream, an instruction a cycle.
//
// In:  a word where `valid`; `first` with a HEAD, which begins a new sum and whose `crc` field counts as 0.
// Out: the sum of all words up to and with that of 2 cycles before.
// A sum is linear: each bit of the next state is the parity of some bits of the state and of the word.
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

  // Which bits of state and word each bit of the next state is the sum of: what becomes of every bit by itself.
  function automatic logic [31:0][WORD_BITS+31:0] parts();
    logic [31:0] state;
    for (int place = 0; place < WORD_BITS + 32; place++) begin
      state = place < 32 ? 32'd1 << place : '0;
      for (int i = 0; i < WORD_BITS; i++) state = state >> 1 ^ (state[0] ^ (i == place - 32) ? POLYNOMIAL : '0);
      for (int to = 0; to < 32; to++) parts[to][place] = state[to];
    end
  endfunction
  localparam logic [31:0][WORD_BITS+31:0] PARTS = parts();

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
    for (int to = 0; to < 32; to++) begin
      contribution[to] <= ^(PARTS[to][WORD_BITS+31:32] & counted);
      if (comes) state[to] <= ^(PARTS[to][31:0] & (begins ? '1 : state)) ^ contribution[to];
    end
  end

  assign crc = ~state;
endmodule
