"""Writes docs/families.md: every family compiled, compared with torch and timed beside onnxruntime.

python -m benchmarks.families [NAME ..]: with names, prints their rows and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import onnxruntime

from benchmarks.here import processor_line
from benchmarks.timing import milliseconds
from edgemtl.errors import EdgemtlError
from edgemtl.runtime import Session
from examples.families.family import Family
from examples.families.measure import Compiled, compile_family, exactness, frame, share
from examples.families.zoo import FAMILIES

DOCUMENT = Path(__file__).parents[1] / "docs" / "families.md"
ROUNDS = 15
HEAD = """# Families of multi-task networks

`examples/families/` has a compact model of every family below: the structure of the published system with few channels
and random weights. `make families` exports each with torch, compiles it in float32 and in int8, and writes this table.

- *weights*, *MACs*: what one task's pathway keeps of the whole model, the mean over its tasks. Every expert that a task
  may reach counts as its weights; of its multiply-accumulates, those of experts that run.
- *difference*: the largest absolute difference between float32 outputs and torch's, over all tasks and eight frames.
- *int8*: signal-to-noise ratio of the worst task in int8, against torch, compiled with `--sqnr-target 22`, which gives
  layers 12-bit activations or float32 where int8 alone is below that.
- *ms*: medians on one thread, run by turns: one task in float32 and in int8, and the whole model in onnxruntime.

Measured on {processor}.

| system | routing | weights | MACs | difference | int8 | fp32 ms | int8 ms | onnxruntime ms |
|---|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Latency:
    """Medians in milliseconds on one thread, interleaved: one task here, the whole model in onnxruntime."""

    fp32_ms: float
    int8_ms: float
    onnxruntime_ms: float


def main() -> None:
    """Measure and print row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help="families to measure; all where none is given")
    names = parser.parse_args().names
    unknown = set(names) - {family.name for family in FAMILIES}
    if unknown:
        parser.error(f"NAME must be one of {', '.join(f.name for f in FAMILIES)}, not {', '.join(sorted(unknown))}")
    rows = []
    for line in table([family for family in FAMILIES if not names or family.name in names]):
        print(line, flush=True)
        rows.append(line)
    if not names:
        DOCUMENT.write_text(HEAD.format(processor=processor_line()) + "\n".join(rows) + "\n")
    sys.exit(any("refused" in line for line in rows))


def table(families: Sequence[Family]) -> Iterator[str]:
    """A row of Markdown for each family."""
    for family in families:
        # torch's exporter warns of its own deprecations.
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            yield row(family, Path(folder))


def row(family: Family, folder: Path) -> str:
    """The family's figures, or why it was refused."""
    try:
        compiled = compile_family(family, folder)
    except EdgemtlError as error:
        return f"| {family.system} | {family.routing} | refused: {error} | | | | | | |"
    pathway, exact, times = share(compiled), exactness(compiled), latency(compiled)
    cells = (
        family.system,
        family.routing,
        f"{pathway.weights:.0%}",
        f"{pathway.macs:.0%}",
        f"{exact.difference:.1e}",
        f"{exact.sqnr_db:.1f} dB",
        *(f"{ms:.2f}" for ms in (times.fp32_ms, times.int8_ms, times.onnxruntime_ms)),
    )
    return f"| {' | '.join(cells)} |"


def latency(compiled: Compiled) -> Latency:
    """Time the first task beside the whole model in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    peer = onnxruntime.InferenceSession(compiled.model, options, providers=["CPUExecutionProvider"])
    inputs = frame(compiled.family, 0)
    whole = {name: value.numpy() for name, value in compiled.family.example(0).items()}
    with Session.open(compiled.fp32) as fp32, Session.open(compiled.int8) as int8:
        task = fp32.tasks[0]
        runs = (lambda: fp32.run(task, inputs), lambda: int8.run(task, inputs), lambda: peer.run(None, whole))
        return Latency(*map(median, milliseconds(runs, ROUNDS, warm_runs=1)))


if __name__ == "__main__":
    main()
