// A queue of DEPTH words, any depth. What comes in may leave in the next cycle; `out_data` is the oldest where
// `out_valid`. A full queue takes nothing, even while one leaves. Memory is LUT RAM: it is read without a register.
module fifo #(
    parameter int unsigned WIDTH = 8,
    parameter int unsigned DEPTH = 2
) (
    input  logic             clk,
    input  logic             reset,
    input  logic             in_valid,
    output logic             in_ready,
    input  logic [WIDTH-1:0] in_data,
    output logic             out_valid,
    input  logic             out_ready,
    output logic [WIDTH-1:0] out_data
);
  if (DEPTH < 1) begin : gen_check
    $fatal(1, "a queue must have room for a word");
  end

  localparam int unsigned PLACE = DEPTH > 1 ? $clog2(DEPTH) : 1;

  function automatic logic [PLACE-1:0] next(logic [PLACE-1:0] place);
    return 32'(place) == DEPTH - 1 ? '0 : place + 1'b1;
  endfunction

  logic [WIDTH-1:0] memory[DEPTH];
  logic [PLACE-1:0] first, free;
  logic [$clog2(DEPTH+1)-1:0] count;

  assign in_ready  = 32'(count) != DEPTH;
  assign out_valid = count != '0;
  assign out_data  = memory[first];

  always_ff @(posedge clk) begin
    if (in_valid && in_ready) begin
      memory[free] <= in_data;
      free <= next(free);
    end
    if (out_valid && out_ready) first <= next(first);
    count <= count + $bits(count)'(in_valid && in_ready) - $bits(count)'(out_valid && out_ready);
    if (reset) {first, free, count} <= '0;
  end
endmodule
