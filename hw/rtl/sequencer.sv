// Gives every instruction of a stream to its unit's queue, and starts it when its credits are there.
//
// Words come in order of the streams, one a cycle, and leave 2 cycles later. What stops the core for good, until a
// reset: an instruction that is not legal, a stream that is not of this engine, a wrong CRC, a unit that failed, a counter
// of credits that overflowed, and `watchdog` cycles in which a stream was open and no instruction started or ended (0: no
// limit). `fault_number` then is the instruction's place in its stream; where a unit failed, that of its oldest
// instruction that has not ended. The CRC is known at END: results of a stream count when `stream_done` comes.
//
// To a unit u: `start_word[u]` is the oldest of its queue where `ahead[u]`; it may be looked at before it starts, which
// it does where `start_valid[u]` and `start_ready[u]`. `done[u]`: its oldest instruction that has started has ended.
// Instructions of the next stream enter the queues; only the weights unit starts them before this one has ended.
module sequencer
  import edgemtl_isa_pkg::*;
#(
    parameter int unsigned QUEUE   = 64,  // instructions in the queue of a unit
    parameter int unsigned STARTED = 8    // instructions of a unit that have started and not ended
) (
    input  logic                    clk,
    input  logic                    reset,
    input  logic       [63:0]       engine,       // what HEAD must name
    input  logic       [31:0]       watchdog,
    // the stream
    input  logic                    word_valid,
    output logic                    word_ready,
    input  word_t                   word,
    // units
    output logic       [UNITS-1:0]  ahead,
    output logic       [UNITS-1:0]  start_valid,
    input  logic       [UNITS-1:0]  start_ready,
    output word_t      [UNITS-1:0]  start_word,
    input  logic       [UNITS-1:0]  done,
    input  logic       [UNITS-1:0]  access_error,      // it would have left its region or window
    input  logic       [UNITS-1:0]  memory_error,       // DRAM answered with an error
    // state
    output logic       [16:0]       ring_lines,   // of the open streams
    output logic                    stream_done,  // for a cycle
    output logic                    idle,         // no stream is open
    output fault_e        fault,
    output logic       [23:0]       fault_number
);
  typedef struct packed {
    logic        stream;  // which of the two open ones
    logic [23:0] number;
    word_t       word;
  } queued_t;

  typedef struct packed {
    logic             stream;
    logic [23:0]      number;
    logic [UNITS-1:0] signals;
  } started_t;

  localparam int unsigned COUNT = $clog2(UNITS * (QUEUE + STARTED) + 1);

  logic stopped;
  assign stopped = fault != FAULT_NONE;

  // Words: one in the decoder, one decoded.
  logic  move, taken_valid, here_valid, legal;
  word_t here;
  unit_e owner;
  /* verilator lint_off UNUSEDSIGNAL */
  head_t head;  // its masks and zeros are the decoder's business
  /* verilator lint_on UNUSEDSIGNAL */
  assign head = here;

  decoder decode (
      .clk,
      .enable (move),
      .word,
      .decoded(here),
      .legal,
      .owner
  );

  logic [31:0] crc;
  logic        begins;  // the next word of the stream that comes in is a HEAD
  stream_crc sum (
      .clk,
      .valid(word_valid && word_ready),
      .first(begins),
      .word,
      .crc
  );

  // Streams.
  logic underway;  // the next word behind the decoder is not a HEAD
  logic entering, current;  // the stream that comes in, and the one whose instructions start
  logic [1:0] open;
  logic [1:0] ended;
  logic [1:0][COUNT-1:0] left;  // instructions in queues or started
  logic [23:0] number, words;
  logic [31:0] expected;

  // What becomes of the word here: it waits, is passed on, or stops the core.
  logic is_head, is_end, has_room, passes, enters;
  logic [UNITS-1:0] queue_ready;
  fault_e refused;

  assign is_head = here[CODE_LOW+:CODE_WIDTH] == OP_HEAD;
  assign is_end  = here[CODE_LOW+:CODE_WIDTH] == OP_END;

  always_comb begin
    refused = FAULT_NONE;
    if (!legal) refused = FAULT_INSTRUCTION;
    else if (is_head != !underway) refused = FAULT_STREAM;
    else if (is_head) begin
      if (head.magic != MAGIC || 32'(head.version) != VERSION || head.engine != engine) refused = FAULT_STREAM;
    end else if (is_end != (number == words - 1)) refused = FAULT_STREAM;
    else if (is_end && crc != expected) refused = FAULT_CRC;
    if (!here_valid) refused = FAULT_NONE;

    if (is_head) has_room = open == 0 || open == 1 && head.ring == ring_lines;
    else has_room = is_end || queue_ready[owner];
    passes = here_valid && refused == FAULT_NONE && has_room && !stopped;
    enters = passes && is_head;
    move   = (!here_valid || passes) && !stopped;
  end

  assign word_ready = move && !reset;

  // Units.
  logic     [UNITS-1:0] queue_valid, push, start, started_ready, started_valid, available;
  queued_t  [UNITS-1:0] oldest;
  started_t [UNITS-1:0] running;
  logic     [UNITS-1:0][UNITS-1:0] posted, taken;

  for (genvar u = 0; u < UNITS; u++) begin : gen_unit
    assign push[u] = passes && !is_head && !is_end && owner == u;
    fifo #(
        .WIDTH($bits(queued_t)),
        .DEPTH(QUEUE)
    ) queue (
        .clk,
        .reset,
        .in_valid (push[u]),
        .in_ready (queue_ready[u]),
        .in_data  ({entering, number, here}),
        .out_valid(queue_valid[u]),
        .out_ready(start[u]),
        .out_data (oldest[u])
    );
    fifo #(
        .WIDTH($bits(started_t)),
        .DEPTH(STARTED)
    ) in_flight (
        .clk,
        .reset,
        .in_valid (start[u]),
        .in_ready (started_ready[u]),
        .in_data  ({oldest[u].stream, oldest[u].number, oldest[u].word[SIGNALS_LOW+:SIGNALS_WIDTH]}),
        .out_valid(started_valid[u]),
        .out_ready(done[u]),
        .out_data (running[u])
    );
    assign start_word[u] = oldest[u].word;
    assign ahead[u] = queue_valid[u] && !stopped && (u == UNIT_WEIGHTS || oldest[u].stream == current);
    assign start_valid[u] = ahead[u] && started_ready[u] && available[u];
    assign start[u] = start_valid[u] && start_ready[u];
    assign posted[u] = done[u] ? running[u].signals : '0;
    assign taken[u] = oldest[u].word[WAITS_LOW+:WAITS_WIDTH];
    always_ff @(posedge clk) if (!reset) assert (!done[u] || started_valid[u]);
  end

  logic overflow;
  credits counters (
      .clk,
      .reset,
      .posted,
      .start,
      .taken,
      .available,
      .overflow
  );

  // Which units fail now, the lowest first.
  logic        fails;
  fault_e      failure;
  logic [23:0] failure_number;
  always_comb begin
    fails = 1'b0;
    failure = FAULT_NONE;
    failure_number = '0;
    for (int u = UNITS - 1; u >= 0; u--) begin
      if (access_error[u] || memory_error[u]) begin
        fails = 1'b1;
        failure = access_error[u] ? FAULT_ACCESS : FAULT_MEMORY;
        failure_number = running[u].number;
      end
    end
  end

  // Instructions that ended, by stream.
  logic [1:0][$clog2(UNITS + 1)-1:0] ends;
  always_comb begin
    ends = '0;
    for (int u = 0; u < UNITS; u++) if (done[u]) ends[running[u].stream] += 1'b1;
  end

  logic [31:0] waited;
  assign stream_done = ended[current] && left[current] == '0 && !stopped;
  assign idle = open == '0;

  always_ff @(posedge clk) begin
    if (move) taken_valid <= word_valid;
    if (move) here_valid <= taken_valid;
    if (word_valid && word_ready) begins <= word[CODE_LOW+:CODE_WIDTH] == OP_END;
    if (passes) number <= is_head ? 24'd1 : number + 1'b1;
    if (enters) begin
      {words, expected} <= {head.words, head.crc};
      ring_lines <= head.ring;
      entering <= !entering;
    end
    if (passes && (is_head || is_end)) underway <= is_head;
    if (passes && is_end) ended[entering] <= 1'b1;
    if (stream_done) {ended[current], current} <= {1'b0, !current};
    open <= open + 2'(enters) - 2'(stream_done);
    for (int s = 0; s < 2; s++) left[s] <= left[s] + COUNT'(|push && 1'(s) == entering) - COUNT'(ends[s]);
    waited <= idle || |done || |start ? '0 : waited + 1'b1;

    if (!stopped) begin
      if (refused != FAULT_NONE) {fault, fault_number} <= {refused, underway ? number : 24'd0};
      else if (fails) {fault, fault_number} <= {failure, failure_number};
      else if (overflow) {fault, fault_number} <= {FAULT_CREDITS, number};
      else if (watchdog != '0 && waited == watchdog) {fault, fault_number} <= {FAULT_WATCHDOG, number};
    end

    if (reset) begin
      {taken_valid, here_valid, underway, ended, open, left, current} <= '0;
      {begins, entering} <= '1;
      {fault, fault_number, waited} <= '0;
    end
  end
endmodule
