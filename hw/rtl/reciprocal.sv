// One over a sum of weights: law's `reciprocal`. exponent = bits of value; mantissa = min(floor(2^(16 + exponent) / value),
// 2^17 - 1), by a restoring division of a quotient bit a stage.
//
// In:  a value a cycle, 1 .. 2^BITS - 1.
// Out: mantissa and exponent, 19 cycles later.
module reciprocal #(
    parameter int unsigned BITS = 19,
    localparam int unsigned QUOTIENT = 17
) (
    input  logic            clk,
    input  logic [BITS-1:0] value,
    output logic [    16:0] mantissa,
    output logic [     4:0] exponent
);
  if (BITS > 31) begin : g_bits
    $fatal(1, "the exponent has 5 bits");
  end

  logic [4:0] bits, length;
  logic [BITS-1:0] taken;

  always_comb begin
    bits = '0;
    for (int unsigned i = 0; i < BITS; i++) if (value[i]) bits = 5'(i + 1);
  end

  // The divisor has its highest bit set, so 2^17 times its half range divides to 17 bits; where it is a power of 2 they
  // are all ones, which is the law's bound.
  logic [BITS-1:0] divisor[QUOTIENT+1];
  logic [BITS-1:0] rest[QUOTIENT+1];
  logic [QUOTIENT-1:0] quotient[QUOTIENT+1];
  logic [BITS:0] twice[QUOTIENT];

  assign quotient[0] = '0;
  assign rest[0] = {1'b1, {BITS - 1{1'b0}}};

  always_ff @(posedge clk) begin
    taken  <= value;
    length <= bits;
    divisor[0] <= taken << (5'(BITS) - length);
  end

  for (genvar i = 0; i < QUOTIENT; i++) begin : g_stage
    assign twice[i] = {rest[i], 1'b0};
    always_ff @(posedge clk) begin
      divisor[i+1]  <= divisor[i];
      quotient[i+1] <= {quotient[i][QUOTIENT-2:0], twice[i] >= {1'b0, divisor[i]}};
      rest[i+1]     <= BITS'(twice[i] >= {1'b0, divisor[i]} ? twice[i] - {1'b0, divisor[i]} : twice[i]);
    end
  end
  assign mantissa = quotient[QUOTIENT];

  delay #(
      .BITS(5),
      .CYCLES(QUOTIENT + 1)
  ) lengths (
      .clk,
      .in (length),
      .out(exponent)
  );
endmodule
