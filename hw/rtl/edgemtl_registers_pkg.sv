// `python -m edgemtl.hw.isa_documents` writes this file from hw/registers.py; change that table, not the file.
package edgemtl_registers_pkg;
  localparam int unsigned ADDRESS_BITS = 8;

  typedef enum logic [ADDRESS_BITS-1:0] {
    REG_IDENTITY = 8'h00,
    REG_VERSION = 8'h04,
    REG_ENGINE_LOW = 8'h08,
    REG_ENGINE_HIGH = 8'h0c,
    REG_CONTROL = 8'h10,
    REG_STATUS = 8'h14,
    REG_FAULT = 8'h18,
    REG_FAULT_INSTRUCTION = 8'h1c,
    REG_STREAMS_DONE = 8'h20,
    REG_INTERRUPT = 8'h24,
    REG_WATCHDOG = 8'h28,
    REG_CYCLES_LOW = 8'h2c,
    REG_CYCLES_HIGH = 8'h30,
    REG_DONE_CYCLE_LOW = 8'h34,
    REG_DONE_CYCLE_HIGH = 8'h38,
    REG_STREAM_LINE = 8'h3c,
    REG_PARAMETERS_LINE = 8'h40,
    REG_PARAMETERS_LINES = 8'h44,
    REG_INPUT_LINE = 8'h48,
    REG_INPUT_LINES = 8'h4c,
    REG_OUTPUT_LINE = 8'h50,
    REG_OUTPUT_LINES = 8'h54,
    REG_SCRATCH_LINE = 8'h58,
    REG_SCRATCH_LINES = 8'h5c,
    REG_STREAM_WORDS = 8'h60
  } register_e;

  // A stream and its windows: of each window, in the order of window_e, its first line and its lines.
  typedef struct packed {
    logic [23:0] words;
    logic [31:0] line;
    logic [7:0][31:0] windows;
  } queued_stream_t;
endpackage
