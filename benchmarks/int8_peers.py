"""Compare edgemtl's int8 with its fp32, with OpenVINO's bf16 and INT8 and with ONNX Runtime's INT8, round robin.

``python -m benchmarks.int8_peers [--rows NAME ...] [--target cpu-avx2] [--rounds 7] [--table out/int8.md]``

Everything is measured on this machine, as in `benchmarks.cpu_peers`. INT8 of the peers is the QDQ model that
onnxruntime's own quantiser makes of the form they run: static, per channel, calibrated on the same images as ours.
Bars: int8 faster than every peer and by `least_gain` than our fp32, bit exact int8 as fast as every peer's int8. With
``--target`` peers are limited as in `benchmarks.operators`; without products of bytes OpenVINO's floats are float32.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.cpu_peers import Result, measure
from benchmarks.here import limit_peers, processor_line
from benchmarks.peers import Candidate, Part, Row, prepare, rows
from edgemtl.driver import compile_model
from edgemtl.options import CompileOptions, QuantiseOptions
from edgemtl.processor import CpuTarget, resolve
from examples.smooth_images import smooth_images

IMAGES = 12
INT8, FP32, EXACT = "edgemtl int8", "edgemtl fp32", "edgemtl bit exact int8"
CRASHES = {("nonzero", 2)}
"""What onnxruntime 1.32 cannot run: with two threads the quantised NonZero form ends the process (signal 11)."""


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """The calibration images, one after the other."""

    def __init__(self, name: str, images: Sequence[np.ndarray]) -> None:
        self.feeds = iter([{name: image} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image, None behind the last."""
        return next(self.feeds, None)


def least_gain(part: Part, target: CpuTarget) -> float:
    """Least ratio of our fp32's median to our int8's."""
    if part == "head":
        return 1.2
    return 1.8 if target.byte_instructions else 1.4


def prepare_int8(row: Row, work: Path, target: CpuTarget) -> tuple[Candidate, ...]:
    """Ours in both precisions and every peer, those files made that are not there yet; ours comes first."""
    known = {candidate.name: candidate for candidate in prepare(row, work, target.name)}
    folder = work / row.name
    images = smooth_images((1, 3, *row.image), IMAGES)
    ours = {name: folder / f"{name.replace(' ', '_')}_{target.name}_{row.threads}.edgemtl" for name in (INT8, EXACT)}
    for name, bundle in ours.items():
        if not bundle.exists():
            _compile(folder / "model.onnx", images, bundle, target.name, row.threads, name == EXACT)
    backend, floats = ("openvino-bf16", "bf16") if target.byte_instructions else ("openvino", "fp32")
    forms = {form: known[f"onnxruntime {form}"].model for form in ("dense", "nonzero")}
    integers = {form: quantised(path, images) for form, path in forms.items()}
    return (
        Candidate(INT8, "edgemtl", ours[INT8]),
        Candidate(FP32, "edgemtl", known["edgemtl"].model),
        Candidate(EXACT, "edgemtl", ours[EXACT]),
        *(Candidate(f"openvino {floats} {form}", backend, path) for form, path in forms.items()),
        *(Candidate(f"openvino int8 {form}", backend, path) for form, path in integers.items()),
        *(
            Candidate(f"onnxruntime int8 {form}", "onnxruntime", path)
            for form, path in integers.items()
            if (form, row.threads) not in CRASHES
        ),
    )


def _compile(
    model: Path, images: Sequence[np.ndarray], bundle: Path, target: str, threads: int, bit_exact: bool
) -> None:
    """Weights are random and so are outputs: the check of the result has nothing to say here."""
    calibration = bundle.parent / "calibration"
    calibration.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        np.save(calibration / f"{index}.npy", image)
    options = CompileOptions(
        target=target,
        precision="int8",
        calibration=calibration,
        threads=threads,
        bit_exact=bit_exact,
        quantise=QuantiseOptions(least_sqnr_db=-99, correct=False),
    )
    compile_model(model, options, bundle)


def quantised(path: Path, images: Sequence[np.ndarray], name: str = "image") -> Path:
    """The QDQ model that onnxruntime's own quantiser makes of a model with the input ``name``, made once."""
    target, inferred = path.with_suffix(".qdq.onnx"), path.with_suffix(".inferred.onnx")
    if not target.exists():
        with contextlib.redirect_stdout(io.StringIO()):
            quant_pre_process(str(path), str(inferred), skip_symbolic_shape=True)
            quantize_static(
                str(inferred),
                str(target),
                Reader(name, images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
    return target


def markdown(results: Sequence[Result], unlimited: Collection[str]) -> str:
    """The table; peers of ``unlimited`` are shown and do not count."""
    names = list(dict.fromkeys(t.backend for r in results for t in r.timings))
    lines = ["| row | threads | " + " | ".join(names) + " | fp32 / int8 | strongest peer / int8, / bit exact |"]
    lines.append("|---" * (len(names) + 4) + "|")
    for result in results:
        cells = {t.backend: t.cell for t in result.timings}
        row = " | ".join(cells.get(name, "-") for name in names)
        gain, bar = result.ratio_to([FP32]), result.bar
        verdict = f"{gain:.2f}x" + ("" if bar is None else f" (bar {bar}x: {'met' if gain >= bar else 'missed'})")
        peers = ", ".join(_against_peers(result, unlimited))
        lines.append(f"| {result.row} | {result.threads} | {row} | {verdict} | {peers} |")
    return "\n".join(lines) + "\n"


def _against_peers(result: Result, unlimited: Collection[str]) -> Iterator[str]:
    """The strongest peer's median over that of our int8, and the strongest int8 peer's over that of our bit exact."""
    times = {t.backend: t.median_ms for t in result.timings if t.backend.split()[0] not in unlimited}
    peers = {name: time for name, time in times.items() if not name.startswith("edgemtl")}
    for name, word in ((INT8, ""), (EXACT, " int8 ")):
        ratio = min(time for peer, time in peers.items() if word in peer) / times[name]
        yield f"{ratio:.2f}x" + ("" if ratio >= 1 else " (missed)")


def main() -> None:
    """Prepare the models, measure the rows, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", default=["tiny_k2_encoder", "tiny_k2_head", "small_encoder", "small_head"])
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("out/bench_int8"))
    parser.add_argument("--table", type=Path, help="write the markdown table here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    target = resolve(options.target)
    unlimited, machine = limit_peers(target), f"{processor_line()}; {target.name}"
    print(machine, flush=True)
    results = []
    for row in rows(options.threads):
        if row.name in options.rows:
            candidates = prepare_int8(row, options.work, target)
            barred = replace(row, bar=least_gain(row.part, target))
            results.append(measure(barred, candidates, options.rounds, options.runs, options.work, FP32))
            print(markdown(results[-1:], unlimited), flush=True)
    (options.work / "results.json").write_text(json.dumps([asdict(r) for r in results], indent=1))
    if options.table:
        options.table.write_text(f"{machine}\n\n{markdown(results, unlimited)}")


if __name__ == "__main__":
    main()
