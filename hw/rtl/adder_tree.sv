// The sum of TERMS signed numbers, clog2(TERMS) cycles later: a level of pairs a cycle. Term i is terms[i*BITS +: BITS].
module adder_tree #(
    parameter int unsigned TERMS = 2,
    parameter int unsigned BITS = 18,
    localparam int unsigned LEVELS = $clog2(TERMS),
    localparam int unsigned SUM = BITS + LEVELS
) (
    input  logic                  clk,
    input  logic [TERMS*BITS-1:0] terms,
    output logic [      SUM-1:0] sum
);
  for (genvar l = 0; l <= LEVELS; l++) begin : g_level
    localparam int unsigned COUNT = (TERMS + (1 << l) - 1) >> l;
    logic [SUM-1:0] sums[COUNT];
    for (genvar i = 0; i < COUNT; i++) begin : g_sum
      if (l == 0) begin : g_term
        assign sums[i] = SUM'(signed'(terms[i*BITS+:BITS]));
      end else if (2 * i + 1 < (TERMS + (1 << (l - 1)) - 1) >> (l - 1)) begin : g_pair
        always_ff @(posedge clk) sums[i] <= g_level[l-1].sums[2*i] + g_level[l-1].sums[2*i+1];
      end else begin : g_single
        always_ff @(posedge clk) sums[i] <= g_level[l-1].sums[2*i];
      end
    end
  end
  assign sum = g_level[LEVELS].sums[0];

  if (LEVELS == 0) begin : g_wire
    logic unused;
    assign unused = clk;
  end
endmodule
