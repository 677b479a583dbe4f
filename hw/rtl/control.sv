// The host's registers (docs/registers.md) behind an AXI4-Lite port.
//
// One access at a time in each direction. What cannot be done is answered with SLVERR and changes nothing: an address
// without a register, a write to one that is the accelerator's own or of less than 4 bytes, STREAM_WORDS without room.
// `stream` is the oldest queued one, with its windows; it leaves where `stream_valid` and `stream_ready`.
// `idle`: no stream is open or being fetched. `reset_core` is 1 while the host's reset bit or `reset` is.
module control
  import edgemtl_isa_pkg::*;
  import edgemtl_registers_pkg::*;
#(
    parameter logic [63:0] ENGINE = 64'd0  // digest
) (
    input  logic                     clk,
    input  logic                     reset,
    // AXI4-Lite
    input  logic                     awvalid,
    output logic                     awready,
    input  logic [ADDRESS_BITS-1:0]  awaddr,
    input  logic                     wvalid,
    output logic                     wready,
    input  logic [31:0]              wdata,
    input  logic [3:0]               wstrb,
    output logic                     bvalid,
    input  logic                     bready,
    output logic [1:0]               bresp,
    input  logic                     arvalid,
    output logic                     arready,
    input  logic [ADDRESS_BITS-1:0]  araddr,
    output logic                     rvalid,
    input  logic                     rready,
    output logic [31:0]              rdata,
    output logic [1:0]               rresp,
    output logic                     irq,
    // the core
    output logic                     reset_core,
    output logic [63:0]              engine,
    output logic [31:0]              watchdog,
    output logic                     stream_valid,
    input  logic                     stream_ready,
    output queued_stream_t           stream,
    input  logic                     stream_done,
    input  logic                     idle,
    input  fault_e                   fault,
    input  logic [23:0]              fault_number
);
  localparam logic [1:0] OKAY = 2'b00, SLVERR = 2'b10;

  // The registers of windows follow each other.
  function automatic logic is_window(logic [ADDRESS_BITS-1:0] address);
    return address >= REG_PARAMETERS_LINE && address <= REG_SCRATCH_LINES && address[1:0] == '0;
  endfunction
  function automatic logic [2:0] window_place(logic [ADDRESS_BITS-1:0] address);
    return 3'((address - REG_PARAMETERS_LINE) >> 2);
  endfunction

  queued_stream_t written;  // what the host has written of the next stream
  logic queue_ready, queues;
  fifo #(
      .WIDTH($bits(queued_stream_t)),
      .DEPTH(2)
  ) queue (
      .clk,
      .reset    (reset_core),
      .in_valid (queues),
      .in_ready (queue_ready),
      .in_data  ({wdata[23:0], written[$bits(queued_stream_t)-25:0]}),
      .out_valid(stream_valid),
      .out_ready(stream_ready),
      .out_data (stream)
  );

  assign engine = ENGINE;
  logic held, interrupts, stopped, was_stopped;
  logic [1:0] pending;
  logic [31:0] streams_done;
  logic [63:0] cycles, done_cycle;
  logic [31:0] cycles_high, done_cycle_high;
  assign reset_core = reset || held;
  assign stopped = fault != FAULT_NONE;
  assign irq = interrupts && |pending;

  // Writes.
  logic writes, accepted;
  register_e to;
  assign writes  = awvalid && wvalid && !bvalid;
  assign awready = writes;
  assign wready  = writes;
  assign to      = register_e'(awaddr);

  always_comb begin
    case (to)
      REG_CONTROL, REG_INTERRUPT, REG_WATCHDOG, REG_STREAM_LINE: accepted = 1'b1;
      REG_STREAM_WORDS: accepted = queue_ready && !reset_core;
      default: accepted = is_window(awaddr);
    endcase
    accepted = accepted && &wstrb;
    queues = writes && accepted && to == REG_STREAM_WORDS;
  end

  // Reads.
  logic reads, known;
  register_e from;
  logic [31:0] value;
  assign reads   = arvalid && !rvalid;
  assign arready = reads;
  assign from    = register_e'(araddr);

  always_comb begin
    known = 1'b1;
    case (from)
      REG_IDENTITY: value = MAGIC;
      REG_VERSION: value = VERSION;
      REG_ENGINE_LOW: value = ENGINE[31:0];
      REG_ENGINE_HIGH: value = ENGINE[63:32];
      REG_CONTROL: value = {30'd0, interrupts, held};
      REG_STATUS: value = {29'd0, !queue_ready, stopped, idle && !stream_valid};
      REG_FAULT: value = 32'(fault);
      REG_FAULT_INSTRUCTION: value = 32'(fault_number);
      REG_STREAMS_DONE: value = streams_done;
      REG_INTERRUPT: value = 32'(pending);
      REG_WATCHDOG: value = watchdog;
      REG_CYCLES_LOW: value = cycles[31:0];
      REG_CYCLES_HIGH: value = cycles_high;
      REG_DONE_CYCLE_LOW: value = done_cycle[31:0];
      REG_DONE_CYCLE_HIGH: value = done_cycle_high;
      REG_STREAM_LINE: value = written.line;
      REG_STREAM_WORDS: value = 32'(written.words);
      default: begin
        known = is_window(araddr);
        value = written.windows[window_place(araddr)];
      end
    endcase
  end

  always_ff @(posedge clk) begin
    if (bready) bvalid <= 1'b0;
    if (writes) begin
      bvalid <= 1'b1;
      bresp  <= accepted ? OKAY : SLVERR;
    end
    if (rready) rvalid <= 1'b0;
    if (reads) begin
      rvalid <= 1'b1;
      rresp  <= known ? OKAY : SLVERR;
      rdata  <= known ? value : '0;
      if (from == REG_CYCLES_LOW) cycles_high <= cycles[63:32];
      if (from == REG_DONE_CYCLE_LOW) done_cycle_high <= done_cycle[63:32];
    end

    cycles <= cycles + 1'b1;
    was_stopped <= stopped;
    pending <= pending | {stopped && !was_stopped, stream_done};
    if (stream_done) begin
      streams_done <= streams_done + 1'b1;
      done_cycle   <= cycles;
    end
    if (reset_core) {cycles, done_cycle, streams_done, pending, was_stopped} <= '0;

    if (writes && accepted) begin
      case (to)
        REG_CONTROL: {interrupts, held} <= wdata[1:0];
        REG_INTERRUPT: pending <= pending & ~wdata[1:0] | {stopped && !was_stopped, stream_done};
        REG_WATCHDOG: watchdog <= wdata;
        REG_STREAM_LINE: written.line <= wdata;
        REG_STREAM_WORDS: written.words <= wdata[23:0];
        default: written.windows[window_place(awaddr)] <= wdata;
      endcase
    end
    if (reset) {bvalid, rvalid, held, interrupts, watchdog, written} <= '0;
  end
endmodule
