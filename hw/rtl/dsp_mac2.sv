// A place of the array: two weights times one activation, added to the sums of the place before. One DSP48E2.
//
// weights = high * 2^18 + low, both -127..127. load puts them beside those that work, swap makes them work.
// sum = weights * activation + cascade_in, 3 cycles after the activation; where FIRST there is no cascade_in.
// Over a chain of 8 the low sum has 18 bits, and a negative one borrows 1 from the high sum.
module dsp_mac2 #(
    parameter bit FIRST = 1'b0
) (
    input  logic               clk,
    input  logic               load,
    input  logic               swap,
    input  logic signed [26:0] weights,
    input  logic signed [ 7:0] activation,
    input  logic        [47:0] cascade_in,
    output logic        [47:0] cascade_out,
    output logic        [47:0] sum
);
`ifdef SYNTHESIS
  dsp_slice #(
      .HELD   (1'b1),
      .CASCADE(!FIRST)
  ) slice (
      .clk,
      .load,
      .swap,
      .a      (weights),
      .b      (18'(activation)),
      .cascade_in,
      .cascade_out,
      .product(sum)
  );
`else
  logic signed [26:0] waiting, working;
  logic signed [7:0] factor;
  logic signed [34:0] product;

  always_ff @(posedge clk) begin
    if (load) waiting <= weights;
    if (swap) working <= waiting;
    factor  <= activation;
    product <= 35'(working) * 35'(factor);
    sum     <= FIRST ? 48'(product) : 48'(product) + cascade_in;
  end
  assign cascade_out = sum;
`endif
endmodule
