// A score: a sum shifted by 1 to 27, halves rounded up, saturated to 16 bits; LATENCY = 10 cycles later, as `finish`.
module score_lane (
    input  logic               clk,
    input  logic signed [26:0] sum,
    input  logic        [ 4:0] shift,
    output logic signed [15:0] score
);
  localparam int unsigned LATENCY = 10;
  logic signed [26:0] coarse, halves;
  logic signed [26:0] rounded;
  logic [2:0] fine;
  logic [4:0] less;
  logic signed [15:0] result;
  assign less    = shift - 5'd1;
  assign rounded = 27'(halves >>> 1) + 27'(halves[0]);

  always_ff @(posedge clk) begin
    coarse <= sum >>> {less[4:3], 3'd0};
    fine   <= less[2:0];
    halves <= coarse >>> fine;
    if (rounded[26:15] == '0 || rounded[26:15] == '1) result <= rounded[15:0];
    else result <= {rounded[26], {15{!rounded[26]}}};
  end
  delay #(.BITS(16), .CYCLES(LATENCY - 3)) waits (.clk, .in(result), .out(score));
endmodule
