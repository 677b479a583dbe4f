// A DSP48E2 as the cells use it: product of a and b, 3 cycles later, added to cascade_in where CASCADE.
//
// HELD = 1: a waits in a first register, taken where `load`, and goes to the second where `swap`; 0: one register.
// Registers and multiplexers as in the vendor's UG579: OPMODE selects the product by X and Y, PCIN or nothing by Z.
module dsp_slice #(
    parameter bit HELD    = 1'b0,
    parameter bit CASCADE = 1'b0
) (
    input  logic               clk,
    input  logic               load,
    input  logic               swap,
    input  logic signed [26:0] a,
    input  logic signed [17:0] b,
    input  logic        [47:0] cascade_in,
    output logic        [47:0] cascade_out,
    output logic signed [47:0] product
);
  DSP48E2 #(
      .AREG         (HELD ? 2 : 1),
      .ACASCREG     (1),
      .ADREG        (0),
      .ALUMODEREG   (0),
      .BREG         (1),
      .BCASCREG     (1),
      .CARRYINREG   (0),
      .CARRYINSELREG(0),
      .CREG         (0),
      .DREG         (0),
      .INMODEREG    (0),
      .MREG         (1),
      .OPMODEREG    (0),
      .PREG         (1),
      .USE_MULT     ("MULTIPLY")
  ) slice (
      .CLK          (clk),
      .A            ({{3{a[26]}}, a}),
      .B            (b),
      .C            ('0),
      .D            ('0),
      .ACIN         ('0),
      .BCIN         ('0),
      .PCIN         (cascade_in),
      .PCOUT        (cascade_out),
      .P            (product),
      .ALUMODE      (4'b0000),
      .INMODE       (5'b00000),
      .OPMODE       (CASCADE ? 9'b00_001_01_01 : 9'b00_000_01_01),
      .CEA1         (HELD && load),
      .CEA2         (HELD ? swap : 1'b1),
      .CEB1         (1'b0),
      .CEB2         (1'b1),
      .CEM          (1'b1),
      .CEP          (1'b1),
      .CEAD         (1'b0),
      .CEC          (1'b0),
      .CED          (1'b0),
      .CEALUMODE    (1'b0),
      .CECARRYIN    (1'b0),
      .CECTRL       (1'b0),
      .CEINMODE     (1'b0),
      .CARRYIN      (1'b0),
      .CARRYINSEL   (3'b000),
      .CARRYCASCIN  (1'b0),
      .MULTSIGNIN   (1'b0),
      .RSTA         (1'b0),
      .RSTALLCARRYIN(1'b0),
      .RSTALUMODE   (1'b0),
      .RSTB         (1'b0),
      .RSTC         (1'b0),
      .RSTCTRL      (1'b0),
      .RSTD         (1'b0),
      .RSTINMODE    (1'b0),
      .RSTM         (1'b0),
      .RSTP         (1'b0),
      /* verilator lint_off PINCONNECTEMPTY */
      .ACOUT        (),
      .BCOUT        (),
      .CARRYCASCOUT (),
      .CARRYOUT     (),
      .MULTSIGNOUT  (),
      .OVERFLOW     (),
      .PATTERNBDETECT(),
      .PATTERNDETECT(),
      .UNDERFLOW    (),
      .XOROUT       ()
      /* verilator lint_on PINCONNECTEMPTY */
  );
endmodule
