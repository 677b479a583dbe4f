// The weight of a score: law's `exp2_byte`, 255 * 2^(-(largest - score) / 64), rounded half up, exact.
//
// In:  a pair a cycle, largest >= score, both signed.
// Out: its weight, 4 cycles later.
// With d = largest - score: round_shift(EXP2_TABLE[d mod 64], 8 + d div 64); 0 from d = 9 * 64 on.
module exp2
  import edgemtl_isa_pkg::EXP2_TABLE;
(
    input  logic               clk,
    input  logic signed [15:0] largest,
    input  logic signed [15:0] score,
    output logic        [ 7:0] weight
);
  logic [16:0] distance;
  logic [15:0] entry;
  logic [ 3:0] octaves;
  logic        vanishes;
  logic [ 8:0] halves;  // twice the weight, not rounded

  always_ff @(posedge clk) begin
    distance <= 17'(largest) - 17'(score);
    entry    <= EXP2_TABLE[distance[5:0]];
    octaves  <= distance[9:6];
    vanishes <= |distance[16:10] || distance[9:6] > 4'd8;
    halves   <= vanishes ? '0 : 9'(entry >> 7 >> octaves);
    weight   <= halves[8:1] + 8'(halves[0]);
  end
endmodule
