"""What a module of ``hw/rtl`` takes of an UltraScale+ part, counted by Yosys: synthesised, not placed or routed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgemtl.errors import InternalError, UnsupportedError
from edgemtl.hw.sim.rtl.build import Design

LUTS: Final = {f"LUT{inputs}": 1 for inputs in range(1, 7)} | {
    **{"SRL16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2},
    **{"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM128X1D": 4, "RAM256X1D": 8},
}
"""LUT that a cell takes, by the vendor's guide UG574. Inverters move into the cells behind them."""
RUN: Final = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in open(sys.argv[1]).read().splitlines():
    libyosys.run_pass(line, design)
"""


@dataclass(frozen=True)
class Cells:
    """Cells of a synthesised module; a block memory of 18 kbit is half of one."""

    lut: int
    ff: int
    dsp: int
    bram36: float
    uram: int


def synthesise(design: Design) -> Cells:
    """The cells of ``design`` for UltraScale+ parts.

    Raises UnsupportedError without Yosys, InternalError for SystemVerilog that it refuses and for cells it left as they
    are in a netlist that no part has.
    """
    spec = importlib.util.find_spec("pyosys")
    if spec is None or spec.origin is None:
        raise UnsupportedError("synthesis", "Yosys is not installed", "run pip install 'edgemtl[hw]'")
    with tempfile.TemporaryDirectory() as work:
        blocks, cells = Path(work) / "blocks.sv", Path(work) / "cells.json"
        blocks.write_text(_black_box(Path(spec.origin).parent / "share" / "xilinx" / "cells_xtra.v", "DSP48E2"))
        parameters = " ".join(f"-G {name}={value}" for name, value in sorted(design.parameters.items()))
        files = " ".join(str(path) for path in (*design.files, blocks))
        script = Path(work) / "script"
        script.write_text(
            f"read_slang -D SYNTHESIS --top {design.top} {parameters} {files}\n"
            f"synth_xilinx -family xcup -noiopad -noclkbuf -flatten -top {design.top}\n"
            f"tee -q -o {cells} stat -json\n"
        )
        done = subprocess.run([sys.executable, "-c", RUN, script], capture_output=True, text=True, errors="replace")
        if done.returncode or not cells.exists():
            raise InternalError(f"yosys failed:\n{(done.stdout + done.stderr)[-4000:]}")
        counts = json.loads(cells.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    return cells_of(counts)


def cells_of(counts: Mapping[str, int]) -> Cells:
    """The sums over a netlist's cells by type. Raises InternalError for a type that no part has."""
    free = ("CARRY4", "CARRY8", "INV", "MUXF7", "MUXF8", "MUXF9", "$check", "$scopeinfo", "GND", "VCC", "$assert")
    known = {*LUTS, *free, "FDRE", "FDSE", "FDCE", "FDPE", "DSP48E2", "RAMB36E2", "RAMB18E2", "URAM288"}
    if unknown := sorted(counts.keys() - known):
        raise InternalError(f"the netlist must consist of the part's cells, not of {', '.join(unknown)}")
    return Cells(
        lut=sum(counts.get(name, 0) * luts for name, luts in LUTS.items()),
        ff=sum(counts.get(name, 0) for name in ("FDRE", "FDSE", "FDCE", "FDPE")),
        dsp=counts.get("DSP48E2", 0),
        bram36=counts.get("RAMB36E2", 0) + counts.get("RAMB18E2", 0) / 2,
        uram=counts.get("URAM288", 0),
    )


def _black_box(library: Path, name: str) -> str:
    """The declaration of a cell among the vendor's, without a body."""
    text = library.read_text(encoding="utf-8")
    begin = text.index(f"module {name}(")
    return "(* blackbox *)\n" + text[begin : text.index("endmodule", begin)] + "endmodule\n"
