// The sums of each head of SCORES: head i of h has the chains i * CHAINS / h and following.
//
// In:  the chain sums of a row, and h, in_heads; 2 or 3, as far as MOST and the number of chains allow.
// Out: sums of h heads, head i's columns in slot i, LATENCY cycles later: those of the accumulators of as many chains.
module head_sums #(
    parameter int unsigned CHAINS  = 4,
    parameter int unsigned COLUMNS = 16,
    parameter int unsigned MOST    = 2,  // heads
    localparam int unsigned CHAIN  = 18,
    localparam int unsigned SUM    = 27
) (
    input  logic                            clk,
    input  logic [1:0]                      in_heads,
    input  logic [CHAINS*COLUMNS*CHAIN-1:0] in_sums,
    output logic [MOST*COLUMNS*SUM-1:0]     out_sums
);
  localparam int unsigned LEVELS = $clog2(CHAINS);
  localparam int unsigned LATENCY = (LEVELS > 2 ? LEVELS : 2) + 1;

  logic [1:0] heads;
  delay #(.BITS(2), .CYCLES(LATENCY - 1)) counts (.clk, .in(in_heads), .out(heads));

  for (genvar c = 0; c < COLUMNS; c++) begin : g_column
    for (genvar i = 0; i < MOST; i++) begin : g_head
      logic [SUM-1:0] sums[4];  // by number of heads
      assign sums[0] = '0;
      assign sums[1] = '0;
      for (genvar h = 2; h <= 3; h++) begin : g_heads
        localparam int unsigned SHARE = CHAINS / h;
        if (h <= MOST && i < h && CHAINS % h == 0) begin : g_tree
          localparam int unsigned TREE = $clog2(SHARE);
          logic [SHARE*CHAIN-1:0] terms;
          logic [CHAIN+TREE-1:0] sum, late;
          for (genvar s = 0; s < SHARE; s++) begin : g_term
            assign terms[s*CHAIN+:CHAIN] = in_sums[((i*SHARE+s)*COLUMNS+c)*CHAIN+:CHAIN];
          end
          adder_tree #(.TERMS(SHARE), .BITS(CHAIN)) tree (.clk, .terms, .sum);
          delay #(.BITS(CHAIN + TREE), .CYCLES(LATENCY - 1 - TREE)) waits (.clk, .in(sum), .out(late));
          assign sums[h] = SUM'(signed'(late));
        end else begin : g_none
          assign sums[h] = '0;
        end
      end
      always_ff @(posedge clk) out_sums[(i*COLUMNS+c)*SUM+:SUM] <= sums[heads];
    end
  end
endmodule
