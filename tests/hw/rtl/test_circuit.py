"""Modules of a few lines: how inputs and outputs belong to cycles, wide ports, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import InternalError
from edgemtl.hw.sim.rtl.build import Design
from edgemtl.hw.sim.rtl.circuit import Circuit, signed

HEAD = "module sample #(parameter int WIDTH = 8) ("
DELAY = """
    input logic clk, input logic signed [WIDTH-1:0] x, input logic [99:0] wide,
    output logic signed [WIDTH-1:0] y, output logic signed [WIDTH-1:0] negative, output logic [99:0] turned
);
  always_ff @(posedge clk) y <= x;
  assign negative = -x;
  assign turned = {wide[49:0], wide[99:50]};
endmodule
"""


def sample(folder: Path, text: str, **parameters: int) -> Design:
    path = folder / "sample.sv"
    path.write_text(HEAD + text)
    return Design("sample", parameters, (path,))


def test_outputs_are_those_of_the_cycle(tmp_path: Path) -> None:
    x = np.arange(-4, 4)
    wide = np.random.default_rng(0).integers(0, 256, (8, 13)).astype(np.uint8)
    wide[:, 12] &= 15
    with Circuit(sample(tmp_path, DELAY, WIDTH=4), seed=3) as circuit:
        out = circuit.run({"x": x, "wide": wide})
        again = circuit.run({"x": 0}, 1)
    assert signed(out["negative"], 4).tolist() == [4, 3, 2, 1, 0, -1, -2, -3]
    assert signed(out["y"], 4).tolist()[1:] == [-4, -3, -2, -1, 0, 1, 2]
    assert signed(again["y"], 4).tolist() == [3]
    for given, seen in zip(wide, out["turned"], strict=True):
        number = int.from_bytes(given.tobytes(), "little")
        turned = (number & (2**50 - 1)) << 50 | number >> 50
        assert int.from_bytes(seen.tobytes(), "little") == turned


def test_registers_without_reset_begin_anywhere(tmp_path: Path) -> None:
    design, first = sample(tmp_path, DELAY, WIDTH=32), set()
    for seed in range(1, 5):
        with Circuit(design, seed) as circuit:
            first.add(int(circuit.run({"x": 0}, 1)["y"][0]))
    assert len(first) == 4


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": [1]}, "inputs must be ports of the module, not z"),
        ({"x": [16]}, "x must be -8 to 15, not 16 to 16"),
        ({"wide": np.zeros((1, 14), np.uint8)}, "wide must have at most 13 bytes, not 14"),
    ],
)
def test_inputs_that_do_not_fit(inputs: dict[str, object], message: str, tmp_path: Path) -> None:
    with Circuit(sample(tmp_path, DELAY, WIDTH=4)) as circuit, pytest.raises(InternalError, match=message):
        circuit.run(inputs)


def test_a_failed_assertion_ends_the_run(tmp_path: Path) -> None:
    text = "input logic clk, input logic bad, output logic y);"
    text += 'assign y = bad; always_ff @(posedge clk) if (bad) $fatal(1, "no"); endmodule'
    text = text.replace("module sample #(parameter int WIDTH = 8) (", "")
    path = tmp_path / "sample.sv"
    path.write_text(f"module sample ({text}\n")
    with Circuit(Design("sample", {}, (path,))) as circuit:
        circuit.run({"bad": [0, 0]})
        with pytest.raises(InternalError, match="an assertion of the module failed"):
            circuit.run({"bad": [0, 1]})


def test_warnings_of_verilator_are_errors(tmp_path: Path) -> None:
    latch = "input logic s, input logic [WIDTH-1:0] x, output logic [WIDTH-1:0] y);"
    latch += " always_comb if (s) y = x; endmodule\n"
    with pytest.raises(InternalError, match="LATCH"):
        Circuit(sample(tmp_path, latch))


def test_packages_are_read_first() -> None:
    names = [path.stem for path in Design("matrix_unit", {}).files]
    packages = [name.endswith("_pkg") for name in names]
    assert packages == sorted(packages, reverse=True)
    assert {"edgemtl_isa_pkg", "matrix_pkg", "matrix_unit"} <= set(names)
