// The credits between units: a counter for each pair of who posts and who consumes, itself included.
//
// `posted[u]`: units to which u posts a credit in this cycle. `taken[u]`: units from which the next instruction of u
// consumes one; `available[u]` says whether all are there, and where `start[u]` they are consumed. A credit counts from
// the cycle behind its post. `overflow`, for a cycle: a counter of BITS bits was full; no stream that the checker
// accepts does that.
module credits
  import edgemtl_isa_pkg::*;
#(
    parameter int unsigned BITS = 6
) (
    input  logic                        clk,
    input  logic                        reset,
    input  logic [UNITS-1:0][UNITS-1:0] posted,
    input  logic [UNITS-1:0][UNITS-1:0] taken,
    input  logic [UNITS-1:0]            start,
    output logic [UNITS-1:0]            available,
    output logic                        overflow
);
  logic [UNITS-1:0][UNITS-1:0][BITS-1:0] count;  // by who consumes, then who posts
  logic [UNITS-1:0][UNITS-1:0] more, fewer, lost;

  always_comb begin
    for (int u = 0; u < UNITS; u++) begin
      available[u] = 1'b1;
      for (int from = 0; from < UNITS; from++) begin
        if (taken[u][from] && count[u][from] == '0) available[u] = 1'b0;
        more[u][from]  = posted[from][u];
        fewer[u][from] = start[u] && taken[u][from];
        lost[u][from]  = more[u][from] && !fewer[u][from] && &count[u][from];
      end
    end
  end

  always_ff @(posedge clk) begin
    for (int u = 0; u < UNITS; u++)
      for (int from = 0; from < UNITS; from++)
        count[u][from] <= count[u][from] + BITS'(more[u][from]) - BITS'(fewer[u][from]);
    overflow <= |lost;
    if (reset) begin
      count <= '0;
      overflow <= 1'b0;
    end
  end
endmodule
