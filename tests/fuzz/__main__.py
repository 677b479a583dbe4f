"""``python -m tests.fuzz [SURFACE ...]``: judges hostile inputs, prints what is at fault, writes counts.

Ends with 1 where an input was at fault.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy: a fork has none of the threads of a pool

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

from tests.fuzz.judge import Surface, judge
from tests.fuzz.report import Counts, count, write_table

NAMES = (
    *("bundle_bytes", "bundle_content", "onnx_files", "metadata", "parameters", "streams"),
    *("boards", "pictures", "arrays", "checkpoints", "configurations"),
)


def surface_of(name: str) -> Surface:
    """The surface of a module in tests/fuzz/surfaces."""
    surface: Surface = importlib.import_module(f"tests.fuzz.surfaces.{name}").SURFACE
    return surface


def show(name: str, counts: Counts) -> None:
    """A line of counts, and one for each kind of fault with its first seed."""
    print(f"{name}: {counts}", flush=True)
    for fault, (times, outcome) in counts.faults.items():
        print(f"  {fault}, {times} times, first seed {outcome.seed}: {outcome.text}", flush=True)


def main() -> int:
    """Judge the surfaces that were named, all of them as a rule."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("surfaces", nargs="*", metavar="SURFACE", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--inputs", type=int, default=1000, help="inputs a surface")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first one")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="most time for a surface")
    parser.add_argument("--folder", type=Path, help="where good files are made and left, to be made once")
    parser.add_argument("--table", type=Path, help="write a page with the counts")
    parser.add_argument("--json", type=Path, help="write the counts as JSON")
    chosen = parser.parse_args()
    counts: dict[str, Counts] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz_") as temporary:
        folder = chosen.folder or Path(temporary)
        for name in chosen.surfaces or NAMES:
            surface = surface_of(name)
            outcomes = judge(surface, (folder / name).resolve(), chosen.first, chosen.inputs, chosen.seconds)
            counts[name] = count(surface, outcomes)
            show(name, counts[name])
    if chosen.table:
        write_table(chosen.table, counts, {name: surface_of(name) for name in counts})
    if chosen.json:
        chosen.json.write_text(json.dumps({name: c.document() for name, c in counts.items()}, indent=1))
    return int(any(c.faults for c in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
