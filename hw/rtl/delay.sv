// A value as it was CYCLES cycles ago; without a reset, so the first CYCLES values are anything. CYCLES may be 0.
module delay #(
    parameter int unsigned BITS   = 1,
    parameter int unsigned CYCLES = 1
) (
    input  logic            clk,
    input  logic [BITS-1:0] in,
    output logic [BITS-1:0] out
);
  if (CYCLES == 0) begin : g_wire
    logic unused;
    assign unused = clk;
    assign out = in;
  end else begin : g_registers
    logic [BITS-1:0] past[CYCLES];
    always_ff @(posedge clk) begin
      past[0] <= in;
      for (int unsigned i = 1; i < CYCLES; i++) past[i] <= past[i-1];
    end
    assign out = past[CYCLES-1];
  end
endmodule
