"""Whole networks of one image input against ONNX Runtime and OpenVINO, in fp32 and in int8, round robin.

``python -m benchmarks.networks FOLDER [--names resnet ...] [--target cpu-avx2] [--threads 1] [--table out/net.md]``

FOLDER holds .onnx files; bundles and QDQ models are written beside them once. One process a backend, as in
`benchmarks.cpu_peers`; peers that are not installed are left out. INT8 of the peers is the QDQ model of onnxruntime's
own quantiser, on the images of ours. The bars: fp32 as fast as the strongest peer, int8 1.5 times as fast as the
strongest peer's int8, bit exact int8 as fast as that, and int8 not slower than fp32.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from benchmarks.cpu_peers import Result, measure
from benchmarks.here import limit_peers, processor_line
from benchmarks.int8_peers import quantised
from benchmarks.peers import Candidate
from edgemtl.driver import compile_model
from edgemtl.errors import EdgemtlError
from edgemtl.options import CompileOptions, QuantiseOptions
from edgemtl.processor import resolve
from examples.smooth_images import smooth_images

IMAGES = 8
INT8_BAR = 1.5
EXACT = "bit exact int8"


@dataclass(frozen=True)
class Network:
    """A network to measure, as `measure` wants its rows."""

    name: str
    threads: int
    bar: float | None = None


def prepare(path: Path, target: str, threads: int, work: Path) -> list[Candidate]:
    """Ours in both precisions, then the peers; what is not there yet is made. Raises EdgemtlError."""
    value = onnx.load(path, load_external_data=False).graph.input[0]
    shape = tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
    images = smooth_images(shape, IMAGES)
    np.save(work / f"{path.stem}_input.npy", images[0])
    folder = work / path.stem
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        np.save(folder / f"{index}.npy", image)
    candidates = []
    for precision in ("int8", "fp32", EXACT):
        bundle = work / f"{path.stem}_{target}_{threads}_{precision.replace(' ', '_')}.edgemtl"
        if not bundle.exists():
            compile_model(path, _options(precision, target, threads, folder), bundle)
        candidates.append(Candidate(f"edgemtl {precision}", "edgemtl", bundle))
    integers = quantised(path, images, value.name)
    for backend in installed():
        candidates += [Candidate(f"{backend} fp32", backend, path), Candidate(f"{backend} int8", backend, integers)]
    return candidates


def installed() -> list[str]:
    """The peers that can be measured here."""
    return [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]


def _options(precision: str, target: str, threads: int, calibration: Path) -> CompileOptions:
    """Weights are random and so are outputs: the check of the result has nothing to say here."""
    common = {"target": target, "threads": threads, "selftest": False}
    if precision == "fp32":
        return CompileOptions(**common)  # type: ignore[arg-type]  # by name
    quantise = QuantiseOptions(least_sqnr_db=-99, correct=False)
    common |= {"quantise": quantise, "bit_exact": precision == EXACT}
    return CompileOptions(precision="int8", calibration=calibration, **common)  # type: ignore[arg-type]  # by name


def line(result: Result, rivals: Sequence[str]) -> str:
    """A row of the table: milliseconds, the ratios, and the bars that are missed; no ratio where no peer counts."""
    times = {timing.backend: timing.median_ms for timing in result.timings}
    peers = {kind: min((times[f"{peer} {kind}"] for peer in rivals), default=0.0) for kind in ("fp32", "int8")}
    ratios = (
        ("fp32", peers["fp32"] / times["edgemtl fp32"], 1),
        ("int8", peers["int8"] / times["edgemtl int8"], INT8_BAR),
        (EXACT, peers["int8"] / times[f"edgemtl {EXACT}"], 1),
        ("int8 against fp32", times["edgemtl fp32"] / times["edgemtl int8"], 1),
    )
    missed = ", ".join(name for name, ratio, bar in ratios if 0 < ratio < bar)
    cells = [f"{time:.2f}" for time in times.values()] + [f"{ratio:.2f}" if ratio else "-" for _, ratio, _ in ratios]
    return f"| {result.row} | {' | '.join(cells)} | {missed} |"


def main() -> None:
    """Measure the chosen networks, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="*", help="parts of names; default: all")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--table", type=Path, help="write the markdown table here")
    options = parser.parse_args()
    target, work = resolve(options.target, options.threads), options.folder / "work"
    work.mkdir(exist_ok=True)
    unlimited = limit_peers(target)
    rivals = tuple(name for name in installed() if name not in unlimited)
    print(f"{processor_line()}; {target.name}, {options.threads} threads, peers that count: {', '.join(rivals)}")
    lines: list[str] = []
    for path in sorted(options.folder.glob("*.onnx")):
        if path.stem.endswith((".qdq", ".inferred")) or not any(n in path.stem for n in options.names or [""]):
            continue
        try:
            candidates = prepare(path, target.name, options.threads, work)
            network = Network(path.stem, options.threads)
            result = measure(network, candidates, options.rounds, options.runs, work, "onnxruntime fp32")
        except (EdgemtlError, RuntimeError) as error:
            print(f"{path.stem}: {error}", flush=True)
            continue
        if not lines:
            names = " | ".join(timing.backend for timing in result.timings)
            ratios = "peer / fp32 | peer / int8 | peer / bit exact | fp32 / int8"
            columns = len(result.timings) + 6
            lines = [f"| network | {names} | {ratios} | missed |", "|---" * columns + "|"]
            print(*lines, sep="\n")
        lines.append(line(result, rivals))
        print(lines[-1], flush=True)
    if options.table:
        options.table.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
