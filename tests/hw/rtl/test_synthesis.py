"""Counts of cells: what is known beforehand of modules, and what is refused."""

from __future__ import annotations

import pytest

from edgemtl.errors import InternalError
from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.synthesis import cells_of, synthesise


def files(*names: str) -> tuple:
    return tuple(SOURCES / f"{name}.sv" for name in names)


def test_a_product_is_one_block_without_logic() -> None:
    cells = synthesise(Design("dsp_mulc", {}, files("dsp_slice", "dsp_mulc")))
    assert (cells.dsp, cells.lut, cells.ff, cells.bram36) == (1, 0, 0, 0)


@pytest.mark.slow
def test_the_array_takes_a_block_for_two_weights() -> None:
    cells = synthesise(Design("array", {"ROWS": 16, "COLUMNS": 16}, files("array", "delay", "dsp_mac2", "dsp_slice")))
    assert cells.dsp == 16 * 16 // 2


def test_half_a_block_memory_and_luts_of_distributed_memory_count() -> None:
    cells = cells_of({"RAMB36E2": 2, "RAMB18E2": 1, "RAM64M8": 3, "LUT6": 5, "FDRE": 7, "INV": 9, "URAM288": 1})
    assert (cells.bram36, cells.lut, cells.ff, cells.uram) == (2.5, 29, 7, 1)


def test_a_cell_that_no_part_has_is_refused() -> None:
    with pytest.raises(InternalError, match="not of \\$mul"):
        cells_of({"LUT6": 1, "$mul": 1})


def test_a_source_that_is_wrong_is_refused(tmp_path) -> None:
    wrong = tmp_path / "wrong.sv"
    wrong.write_text("module wrong(input logic a, output logic y); assign y = b; endmodule")
    with pytest.raises(InternalError, match="yosys failed"):
        synthesise(Design("wrong", {}, (wrong,)))
