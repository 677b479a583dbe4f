// The vendor's block, written down from its guide UG579 as far as dsp_slice uses it; what it does not use stops.
// Registers: A1 by CEA1, A2 by CEA2, B2 by CEB2, M by CEM, P by CEP. Multiplexers: X and Y = 01 are the partial
// products, Z = 000 nothing, Z = 001 PCIN. ALUMODE 0000 adds.
/* verilator lint_off DECLFILENAME */
/* verilator lint_off UNUSEDSIGNAL */
/* verilator lint_off UNUSEDPARAM */
/* verilator lint_off UNDRIVEN */
module DSP48E2 #(
    parameter int AREG = 1, ACASCREG = 1, ADREG = 1, ALUMODEREG = 1, BREG = 1, BCASCREG = 1, CARRYINREG = 1,
    parameter int CARRYINSELREG = 1, CREG = 1, DREG = 1, INMODEREG = 1, MREG = 1, OPMODEREG = 1, PREG = 1,
    parameter USE_MULT = "MULTIPLY"
) (
    input CLK, CEA1, CEA2, CEB1, CEB2, CEM, CEP, CEAD, CEC, CED, CEALUMODE, CECARRYIN, CECTRL, CEINMODE,
    input [29:0] A, ACIN, input [17:0] B, BCIN, input [47:0] C, PCIN, input [26:0] D,
    input [3:0] ALUMODE, input [4:0] INMODE, input [8:0] OPMODE, input [2:0] CARRYINSEL,
    input CARRYIN, CARRYCASCIN, MULTSIGNIN,
    input RSTA, RSTALLCARRYIN, RSTALUMODE, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP,
    output [29:0] ACOUT, output [17:0] BCOUT, output CARRYCASCOUT, MULTSIGNOUT, OVERFLOW, UNDERFLOW,
    output PATTERNBDETECT, PATTERNDETECT, output [3:0] CARRYOUT, output [7:0] XOROUT, output [47:0] P, PCOUT
);
  logic [29:0] a1, a2;
  logic [17:0] b2;
  logic signed [44:0] m;
  logic [47:0] p;
  always_ff @(posedge CLK) begin
    if (CEA1) a1 <= A;
    if (CEA2) a2 <= AREG == 2 ? a1 : A;
    if (CEB2) b2 <= B;
    if (CEM) m <= 45'(signed'(a2[26:0])) * 45'(signed'(b2));
    if (CEP) p <= (OPMODE[6:4] == 3'b001 ? PCIN : '0) + 48'(m);
  end
  assign P = p;
  assign PCOUT = p;
  always_comb begin
    assert (OPMODE[8:7] == '0 && OPMODE[3:0] == 4'b0101 && OPMODE[6:5] == '0 && ALUMODE == '0 && INMODE == '0);
    assert (BREG == 1 && MREG == 1 && PREG == 1 && ADREG == 0 && CREG == 0 && OPMODEREG == 0 && INMODEREG == 0);
    assert ({CARRYIN, CARRYINSEL, RSTA, RSTB, RSTM, RSTP} == '0);
  end
endmodule
