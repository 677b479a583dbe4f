// What goes through the matrix unit with a row of a tile.
package matrix_pkg;
  localparam int unsigned BANKS = 16;  // of column parameters: more than tiles of LEAST_TILE rows in the pipeline

  // How sums become values: law's `Finish`.
  typedef struct packed {
    logic              wide;
    logic              residual;
    logic              table_;
    logic              which;  // of the two tables
    logic signed [7:0] zero;
    logic signed [7:0] low;
  } how_t;

  typedef struct packed {
    logic        first;  // tile of k
    logic        last;
    logic        ends;   // the last row of an instruction
    logic [10:0] row;
    logic [$clog2(BANKS)-1:0] bank;
    how_t        how;
    logic [2:0]  region;  // where the result goes
    logic [16:0] granule;
  } row_t;
endpackage
