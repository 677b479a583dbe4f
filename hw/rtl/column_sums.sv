// The bias of MIX: 128 times the sum of each column of weights, summed up while they are loaded.
//
// The array multiplies weights of attention as p - 128, and sum (p - 128) v + 128 sum v = sum p v.
// In:  beats of ROWS rows of int8 [COLUMNS]; in_closes with the last beat of a tile of columns, and its bank.
// Out: bias of 27 bits for each column, 3 cycles later. The next beat begins the next tile of columns.
module column_sums #(
    parameter int unsigned ROWS    = 2,
    parameter int unsigned COLUMNS = 16,
    parameter int unsigned BANK    = 4,
    localparam int unsigned SUM    = 27
) (
    input  logic                      clk,
    input  logic                      reset,
    input  logic                      in_valid,
    input  logic                      in_closes,
    input  logic [BANK-1:0]           in_bank,
    input  logic [ROWS*COLUMNS*8-1:0] in_data,
    output logic                      out_valid,
    output logic [BANK-1:0]           out_bank,
    output logic [COLUMNS*SUM-1:0]    out_bias
);
  localparam int unsigned TOTAL = SUM - 7;

  logic [1:0] valid, closes;
  logic begins;  // the next beat that is added is a tile's first
  delay #(.BITS(BANK), .CYCLES(3)) banks (.clk, .in(in_bank), .out(out_bank));

  always_ff @(posedge clk) begin
    valid     <= {valid[0], in_valid};
    closes    <= {closes[0], in_closes};
    out_valid <= valid[1] && closes[1];
    if (valid[0]) begins <= closes[0];
    if (reset) begin
      valid     <= '0;
      out_valid <= 1'b0;
      begins    <= 1'b1;
    end
  end

  for (genvar c = 0; c < COLUMNS; c++) begin : g_column
    logic signed [TOTAL-1:0] sum, few, total;
    always_comb begin
      sum = '0;
      for (int r = 0; r < ROWS; r++) sum += TOTAL'(signed'(in_data[(r*COLUMNS+c)*8+:8]));
    end
    always_ff @(posedge clk) begin
      few <= sum;
      if (valid[0]) total <= few + (begins ? '0 : total);
      out_bias[c*SUM+:SUM] <= {total, 7'd0};
    end
  end
endmodule
