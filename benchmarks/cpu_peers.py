"""Compare edgemtl with its peers on M3ViT: one process a backend, round robin.

``python -m benchmarks.cpu_peers [--rows NAME ...] [--rounds 7] [--work out/bench] [--table docs/benchmarks_table.md]``

Every figure is measured on this machine. Within a row all processes are alive and take turns, so a change of
the machine's speed touches all of them. A bar is the least ratio of the strongest f32 peer's median to ours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.here import processor_line
from benchmarks.peers import CANNOT, Candidate, convert, prepare, rows
from benchmarks.timing import CLOCKS


@dataclass(frozen=True)
class Timing:
    """One backend's figures in one row, milliseconds; ``max_abs_error`` against the row's reference.

    What ``is_wrong`` has a larger error than its limit: its time counts for nothing.
    """

    backend: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    max_abs_error: float
    is_wrong: bool

    @property
    def cell(self) -> str:
        """The times, or how wrong the outputs are."""
        if self.is_wrong:
            return f"wrong: off by {self.max_abs_error:.2g}"
        return f"{self.median_ms:.2f} ({self.p10_ms:.2f}-{self.p90_ms:.2f})"


@dataclass(frozen=True)
class Result:
    """One row: every backend's timing, ours first, and the ratio of the strongest peer's median to ours."""

    row: str
    threads: int
    bar: float | None
    timings: tuple[Timing, ...]

    @property
    def ratio(self) -> float:
        """Median of the strongest peer over our median: above 1 we are faster."""
        return self.ratio_to([t.backend for t in self.timings[1:]])

    def ratio_to(self, backends: Sequence[str]) -> float:
        """Median of the fastest of these that are right over our median."""
        rivals = (t for t in self.timings if t.backend in backends and not t.is_wrong)
        return min(t.median_ms for t in rivals) / self.timings[0].median_ms


@contextmanager
def _worker(
    candidate: Candidate, threads: int, source: Path, target: Path, clock: str
) -> Iterator[subprocess.Popen[str]]:
    command = [
        str(candidate.python),
        "-m",
        "benchmarks.worker",
        candidate.backend,
        str(candidate.model),
        str(threads),
    ]
    with subprocess.Popen(
        [*command, str(source), str(target), clock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if _read(process) != "ready":
            raise RuntimeError(f"{candidate.name}: the worker did not start; run it by hand: {' '.join(command)}")
        yield process


def _read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _ask(process: subprocess.Popen[str], runs: int) -> list[float]:
    assert process.stdin is not None
    process.stdin.write(f"{runs}\n")
    process.stdin.flush()
    return [float(value) for value in _read(process).split()]


class Measured(Protocol):
    """What is measured: its name, the threads it runs on and the ratio to reach."""

    @property
    def name(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def bar(self) -> float | None: ...


def measure(
    row: Measured,
    candidates: Sequence[Candidate],
    rounds: int,
    runs: int,
    work: Path,
    reference: str = "onnxruntime dense",
    clock: str = "wall",
) -> Result:
    """Run every candidate of ``row`` in turn, ``rounds`` rounds of ``runs`` runs; errors are against ``reference``.

    ``clock`` is a name of `timing.CLOCKS`.
    """
    source = work / f"{row.name}_input.npy"
    targets = {c.name: work / f"{row.name}_{c.name}_{row.threads}.npy" for c in candidates}
    times: dict[str, list[float]] = {c.name: [] for c in candidates}
    with ExitStack() as stack:
        workers = {
            c.name: stack.enter_context(_worker(c, row.threads, source, targets[c.name], clock)) for c in candidates
        }
        for _ in range(rounds):
            for name, process in workers.items():
                times[name] += _ask(process, runs)
    truth = np.load(targets[reference])
    timings = tuple(_timing(c, times[c.name], np.load(targets[c.name]), truth) for c in candidates)
    if timings[0].is_wrong:
        raise RuntimeError(f"{row.name}: {timings[0].backend} must be right; it is off by {timings[0].max_abs_error}")
    return Result(row.name, row.threads, row.bar, timings)


def _timing(candidate: Candidate, times: list[float], output: np.ndarray, reference: np.ndarray) -> Timing:
    p10, median, p90 = (float(v) for v in np.percentile(times, (10, 50, 90)))
    error = float(np.abs(output.reshape(reference.shape) - reference).max())
    is_wrong = candidate.limit is not None and not error <= candidate.limit * float(np.abs(reference).max())
    return Timing(candidate.name, median, p10, p90, error, is_wrong)


def _verdict(result: Result) -> str:
    if result.bar is None:
        return f"{result.ratio:.2f}x"
    return f"{result.ratio:.2f}x (bar {result.bar:.2f}x: {'met' if result.ratio >= result.bar else 'missed'})"


def _markdown(results: Sequence[Result]) -> str:
    names = list(dict.fromkeys(t.backend for r in results for t in r.timings))
    lines = ["| row | threads | " + " | ".join(names) + " | strongest peer / edgemtl |"]
    lines.append("|---" * (len(names) + 3) + "|")
    for result in results:
        cells = {t.backend: t.cell for t in result.timings}
        row = [cells.get(name, "-") for name in names]
        lines.append(f"| {result.row} | {result.threads} | " + " | ".join(row) + f" | {_verdict(result)} |")
    return "\n".join(lines) + "\n"


def _missing() -> str:
    """What no column shows, and why."""
    return "".join(f"- {name}: cannot: {reason}.\n" for name, reason in CANNOT.items())


def main() -> None:
    """Prepare the models, measure the rows, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", help="names of rows; default: all")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=15, help="runs a round at 128x256; a fifth of it at 512x512")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--work", type=Path, default=Path("out/bench"))
    parser.add_argument("--table", type=Path, help="write the markdown table here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(processor_line(), flush=True)
    results = []
    for row in rows(options.threads):
        if options.rows and row.name not in options.rows:
            continue
        runs = options.runs if row.image == (128, 256) else max(3, options.runs // 5)
        candidates = prepare(row, options.work)
        candidates += tuple(convert(row, candidates, options.work))
        results.append(measure(row, candidates, options.rounds, runs, options.work, clock=options.clock))
        print(_markdown(results[-1:]), flush=True)
    (options.work / "results.json").write_text(json.dumps([asdict(r) for r in results], indent=1))
    if options.table:
        options.table.write_text(f"{processor_line()}\n\n{_markdown(results)}\n{_missing()}")


if __name__ == "__main__":
    main()
