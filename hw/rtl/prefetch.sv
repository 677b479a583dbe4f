// Data that rows need on their way, read from a memory before they enter a pipeline that cannot wait.
//
// ask_valid, ask_ready: the address of the next row's data. read_valid, read_ready, read_address: the request; its data
// come in order with data_valid, for at most DEPTH requests whose data are not taken yet.
// available: there are data for one row more than have entered. enter: a row enters. take: the oldest one takes `data`.
module prefetch #(
    parameter int unsigned ADDRESS  = 20,
    parameter int unsigned DATA     = 16,
    parameter int unsigned REQUESTS = 16,
    parameter int unsigned DEPTH    = 64
) (
    input  logic               clk,
    input  logic               reset,
    input  logic               ask_valid,
    output logic               ask_ready,
    input  logic [ADDRESS-1:0] ask_address,
    output logic               read_valid,
    input  logic               read_ready,
    output logic [ADDRESS-1:0] read_address,
    input  logic               data_valid,
    input  logic [   DATA-1:0] data_in,
    output logic               available,
    input  logic               enter,
    input  logic               take,
    output logic [   DATA-1:0] data
);
  typedef logic [$clog2(DEPTH+1)-1:0] count_t;
  count_t asked, here, due;  // asked and not taken; of these here; of rows that have entered
  logic request, room, fits, there;

  assign room       = 32'(asked) != DEPTH;
  assign read_valid = request && room;
  assign available  = here > due;

  fifo #(.WIDTH(ADDRESS), .DEPTH(REQUESTS)) requests (
      .clk,
      .reset,
      .in_valid(ask_valid),
      .in_ready(ask_ready),
      .in_data(ask_address),
      .out_valid(request),
      .out_ready(room && read_ready),
      .out_data(read_address)
  );
  fifo #(.WIDTH(DATA), .DEPTH(DEPTH)) arrived (
      .clk,
      .reset,
      .in_valid(data_valid),
      .in_ready(fits),
      .in_data(data_in),
      .out_valid(there),
      .out_ready(take),
      .out_data(data)
  );

  always_ff @(posedge clk) begin
    asked <= asked + count_t'(read_valid && read_ready) - count_t'(take);
    here  <= here + count_t'(data_valid) - count_t'(take);
    due   <= due + count_t'(enter) - count_t'(take);
    if (reset) {asked, here, due} <= '0;
`ifndef SYNTHESIS
    if (!reset && ((take && !there) || (data_valid && !fits) || (enter && !available)))
      $fatal(1, "data and rows do not belong together");
`endif
  end
endmodule
