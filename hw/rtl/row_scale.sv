// The scale of a row of MIX: law's `scale_mantissa` of the row's reciprocal and the instruction's multiplier.
//
// In:  mantissa and exponent of the reciprocal, mul and shift.
// Out: scale = shift * 2^17 + mul as `requantise` takes them, 4 cycles later:
//        mul = min((mantissa * mul + 2^16) >> 17, 2^17 - 1), shift = exponent + shift - 1, 12..43.
module row_scale (
    input  logic        clk,
    input  logic        reset,
    input  logic        in_valid,
    input  logic [16:0] mantissa,
    input  logic [ 4:0] exponent,
    input  logic [16:0] mul,
    input  logic [ 5:0] shift,
    output logic        out_valid,
    output logic [22:0] scale
);
  logic [3:0] valid;
  logic [5:0] whole;
  /* verilator lint_off UNUSEDSIGNAL */
  logic [47:0] product;  // of 34 bits, of which the lowest 16 are rounded away
  /* verilator lint_on UNUSEDSIGNAL */
  logic [17:0] rounded;

  dsp_mulc multiply (.clk, .a({10'd0, mantissa}), .b({1'b0, mul}), .product(product));
  delay #(.BITS(6), .CYCLES(3)) shifts (.clk, .in(6'(exponent) + shift - 6'd1), .out(whole));
  assign rounded   = 18'(product[33:17]) + 18'(product[16]);
  assign out_valid = valid[3];

  always_ff @(posedge clk) begin
    valid <= reset ? '0 : {valid[2:0], in_valid};
    scale <= {whole, rounded[17] ? '1 : rounded[16:0]};
  end
endmodule
