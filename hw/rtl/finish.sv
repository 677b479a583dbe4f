// What becomes of the sums of a row: law's `finish`, COLUMNS values a cycle.
//
//   value = saturate16(requantise(sum + bias, mul, shift))
//   bytes:  table[max(low, saturate8(value + zero))], or that byte itself without a table
//   16 bits (in_wide): max(value, 0) where low is 0, else value; plus the residual, saturated, where in_residual
//
// Column parameters: 8 * COLUMNS bytes of a tile of columns, bias int32 [COLUMNS] and then scale [COLUMNS]
// (shift * 2^17 + mul), in beats of LOAD bytes, go to bank column_bank with column_valid. A row names its bank.
// Tables: 256 bytes, by byte + 128, in beats of LOAD bytes, go to table table_which with table_valid. They are copied
// to the columns 8 entries a cycle, as soon as a beat has come: table_busy from the first beat to the last entry, 32 cycles
// if beats follow each other, and table_late for the first EARLY of them.
// Biases of rows that have a scale of their own go to bank bias_bank with bias_valid.
// In:  a row with its tag and how it is finished, a row a cycle; with in_by_row in_scale is its scale, in all columns, and
//      its biases are those.
// residual: int16 [COLUMNS], taken in the cycle of residual_take, 8 cycles after the row.
// Out: LATENCY = 10 cycles later int16 [COLUMNS], or bytes [COLUMNS] in the lower half. valid is reset.
module finish #(
    parameter int unsigned COLUMNS = 16,
    parameter int unsigned LOAD    = 32,
    parameter int unsigned BANKS   = 16,
    parameter int unsigned TAG     = 1,
    parameter int unsigned EARLY   = 8,
    localparam int unsigned SUM    = 27,
    localparam int unsigned TABLE  = 256,
    localparam int unsigned COLUMN_BEATS = (8 * COLUMNS + LOAD - 1) / LOAD,
    localparam int unsigned TABLE_BEATS = (TABLE + LOAD - 1) / LOAD
) (
    input  logic                          clk,
    input  logic                          reset,
    input  logic                          column_valid,
    input  logic [$clog2(BANKS)-1:0]      column_bank,
    input  logic [$clog2(COLUMN_BEATS+1)-1:0] column_beat,
    input  logic                          table_valid,
    input  logic                          table_which,
    input  logic [$clog2(TABLE_BEATS+1)-1:0]  table_beat,
    input  logic [LOAD*8-1:0]             load_data,
    input  logic                          bias_valid,
    input  logic [$clog2(BANKS)-1:0]      bias_bank,
    input  logic [COLUMNS*SUM-1:0]        bias_data,
    output logic                          table_busy,
    output logic                          table_late,
    input  logic                          in_valid,
    input  logic [TAG-1:0]                in_tag,
    input  logic [$clog2(BANKS)-1:0]      in_bank,
    input  logic                          in_by_row,
    input  logic [22:0]                   in_scale,
    input  logic                          in_wide,
    input  logic                          in_residual,
    input  logic                          in_table,
    input  logic                          in_which,
    input  logic signed [7:0]             in_zero,
    input  logic signed [7:0]             in_low,
    input  logic [COLUMNS*SUM-1:0]        in_sums,
    output logic                          residual_take,
    input  logic [COLUMNS*16-1:0]         residual,
    output logic                          out_valid,
    output logic [TAG-1:0]                out_tag,
    output logic [COLUMNS*16-1:0]         out_data
);
  localparam int unsigned LATENCY = 10;
  localparam int unsigned CLAMP = 8;  // cycles until value is there
  localparam int unsigned WORDS = LOAD / 4;
  localparam int unsigned STEP = 8;  // entries copied a cycle
  localparam int unsigned STEPS = TABLE / STEP;
  localparam int unsigned BEAT = TABLE_BEATS > 1 ? $clog2(TABLE_BEATS) : 1;

  if (LOAD % STEP != 0 || TABLE % LOAD != 0) begin : g_load
    $fatal(1, "LOAD must be a multiple of 8 that divides 256");
  end

  logic [LATENCY-1:0] valid;
  always_ff @(posedge clk) valid <= reset ? '0 : {valid[LATENCY-2:0], in_valid};
  assign out_valid = valid[LATENCY-1];
  delay #(.BITS(TAG), .CYCLES(LATENCY)) tags (.clk, .in(in_tag), .out(out_tag));

  // How the row whose values are there is finished.
  logic wide, add, look, which, byte_wide, byte_look, byte_which;
  logic signed [7:0] zero, low;
  delay #(
      .BITS(20),
      .CYCLES(CLAMP)
  ) hows (
      .clk,
      .in ({in_wide, in_residual, in_table, in_which, in_zero, in_low}),
      .out({wide, add, look, which, zero, low})
  );
  always_ff @(posedge clk) {byte_wide, byte_look, byte_which} <= {wide, look, which};
  assign residual_take = valid[CLAMP-1] && add;

  // A table waits in `waiting` and is copied word by word, a word as soon as its beat has come.
  logic [LOAD*8-1:0] waiting[TABLE_BEATS];
  logic [$clog2(STEPS)-1:0] step;
  logic [$clog2(TABLE_BEATS+1)-1:0] come;
  logic copies, target;
  logic [STEP*8-1:0] word;

  assign word = waiting[BEAT'(32'(step)/(LOAD/STEP))][32'(step)%(LOAD/STEP)*STEP*8+:STEP*8];
  assign table_late = table_busy && 32'(step) < EARLY;
  assign copies = table_busy && 32'(come) * LOAD > 32'(step) * STEP;

  always_ff @(posedge clk) begin
    if (table_valid) begin
      waiting[BEAT'(table_beat)] <= load_data;
      come   <= table_beat + 1'b1;
      target <= table_which;
    end
    if (copies) step <= step + 1'b1;
    if (table_valid && table_beat == '0) begin
      step <= '0;
      table_busy <= 1'b1;
    end else if (copies && step == '1) table_busy <= 1'b0;
    if (reset) table_busy <= 1'b0;
  end

  logic [COLUMNS*16-1:0] words;
  logic [COLUMNS*8-1:0] bytes;
  for (genvar c = 0; c < COLUMNS; c++) begin : g_column
    // Parameters of the column.
    logic [SUM-1:0] biases[BANKS], row_biases[BANKS];
    logic [22:0] scales[BANKS];
    always_ff @(posedge clk) begin
      if (bias_valid) row_biases[bias_bank] <= bias_data[c*SUM+:SUM];
      if (column_valid && 32'(column_beat) == c / WORDS) biases[column_bank] <= load_data[c%WORDS*32+:SUM];
      if (column_valid && 32'(column_beat) == (COLUMNS + c) / WORDS)
        scales[column_bank] <= load_data[(COLUMNS+c)%WORDS*32+:23];
    end

    logic signed [SUM-1:0] sum, bias, total;
    logic [22:0] scale, scale_of_total;
    always_ff @(posedge clk) begin
      sum   <= in_sums[c*SUM+:SUM];
      bias  <= in_by_row ? row_biases[in_bank] : biases[in_bank];
      scale <= in_by_row ? in_scale : scales[in_bank];
      total <= sum + bias;
      scale_of_total <= scale;
    end

    logic signed [15:0] value;
    requantise scaled (
        .clk,
        .value(total),
        .mul(scale_of_total[16:0]),
        .shift(scale_of_total[22:17]),
        .result(value)
    );

    // 17 bits hold any sum of two 16-bit values.
    logic signed [16:0] bounded, added, moved, least, most;
    logic [15:0] result;
    assign bounded = wide && low == 0 && value < 0 ? 17'sd0 : 17'(value);
    assign added = !wide ? 17'(zero) : add ? 17'(signed'(residual[c*16+:16])) : 17'sd0;
    assign moved = bounded + added;
    assign least = wide ? -17'sd32768 : 17'(low);
    assign most = wide ? 17'sd32767 : 17'sd127;

    logic [STEP*8-1:0] entries[2*STEPS];
    logic [7:0] index;
    logic [STEP*8-1:0] near;
    assign index = result[7:0] ^ 8'h80;
    assign near  = entries[{byte_which, index[7:3]}];
    always_ff @(posedge clk) begin
      if (copies) entries[{target, step}] <= word;
      result <= 16'(moved < least ? least : moved > most ? most : moved);
    end
    assign words[c*16+:16] = result;
    assign bytes[c*8+:8] = byte_look ? near[index[2:0]*8+:8] : result[7:0];
  end
  always_ff @(posedge clk) out_data <= byte_wide ? words : {(COLUMNS * 8)'(0), bytes};
endmodule
