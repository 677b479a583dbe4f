// Whose an instruction is, and whether a unit may be given it.
//
// In:  a word a cycle.
// Out: the word, `is_legal` and `unit_of` of it, 2 cycles of `enable` later.
module decoder
  import edgemtl_isa_pkg::*;
(
    input  logic  clk,
    input  logic  enable,
    input  word_t word,
    output word_t decoded,
    output logic  legal,
    output unit_e owner
);
  word_t taken;

  always_ff @(posedge clk) begin
    if (enable) begin
      taken   <= word;
      decoded <= taken;
      legal   <= is_legal(taken);
      owner   <= unit_of(taken[CODE_LOW+:CODE_WIDTH]);
    end
  end
endmodule
