// A product of 27 by 18 bits, 3 cycles later. One DSP48E2.
module dsp_mulc (
    input  logic               clk,
    input  logic signed [26:0] a,
    input  logic signed [17:0] b,
    output logic signed [47:0] product
);
`ifdef SYNTHESIS
  dsp_slice slice (
      .clk,
      .load       (1'b0),
      .swap       (1'b0),
      .a,
      .b,
      .cascade_in ('0),
      .cascade_out(),
      .product
  );
`else
  logic signed [26:0] left;
  logic signed [17:0] right;
  logic signed [44:0] both;

  always_ff @(posedge clk) begin
    left    <= a;
    right   <= b;
    both    <= 45'(left) * 45'(right);
    product <= 48'(both);
  end
`endif
endmodule
