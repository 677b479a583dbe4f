// A sum to 16 bits: law's `requantise`, (value * mul + 2^(shift-1)) >> shift, saturated to -2^15 .. 2^15 - 1.
//
// In:  value, |value| < 2^26; mul of 17 bits without a sign; shift 12..43.
// Out: result, 6 cycles later.
// Halves round up without a constant: floor((x + 2^(t-1)) / 2^t) = ((x >> (t-1)) + 1) >> 1.
module requantise (
    input  logic               clk,
    input  logic signed [26:0] value,
    input  logic        [16:0] mul,
    input  logic        [ 5:0] shift,
    output logic signed [15:0] result
);
  localparam int unsigned LEAST = 11;  // shift - 1 is LEAST + 0..31

  logic signed [47:0] product;
  logic [4:0] more, late;
  logic [2:0] fine;
  logic signed [34:0] coarse, halves;

  dsp_mulc multiply (.clk, .a(value), .b({1'b0, mul}), .product);
  delay #(.BITS(5), .CYCLES(3)) shifts (.clk, .in(5'(shift - 6'(LEAST + 1))), .out(late));
  assign more = late;

  logic signed [33:0] rounded;
  assign rounded = 34'(halves >>> 1) + 34'(halves[0]);

  always_ff @(posedge clk) begin
    coarse <= 35'(product >>> LEAST >>> {more[4:3], 3'd0});
    fine   <= more[2:0];
    halves <= coarse >>> fine;
    if (rounded[33:15] == '0 || rounded[33:15] == '1) result <= rounded[15:0];
    else result <= {rounded[33], {15{!rounded[33]}}};
  end
endmodule
