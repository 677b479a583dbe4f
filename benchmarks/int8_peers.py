"""Compare edgemtl's int8 with its fp32, with OpenVINO's bf16 and INT8 and with ONNX Runtime's INT8, round robin.

``python -m benchmarks.int8_peers [--rows NAME ...] [--rounds 7] [--work out/bench_int8] [--table out/int8.md]``

Everything is measured on this machine, as in `benchmarks.cpu_peers`. INT8 of the peers is the QDQ model that
onnxruntime's own quantiser makes of the form they run: static, per channel, calibrated on the same images as ours.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.cpu_peers import Result, measure
from benchmarks.here import processor_line
from benchmarks.peers import Candidate, Row, prepare, rows
from edgemtl.driver import compile_model
from edgemtl.options import CompileOptions, QuantiseOptions
from examples.smooth_images import smooth_images

IMAGES = 12
BARS = {"encoder": 1.8, "head": 1.2}
"""Least ratio of our fp32's median to our int8's."""


CRASHES = {("nonzero", 2)}
"""What onnxruntime 1.32 cannot run: with two threads the quantised NonZero form ends the process (signal 11)."""


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """The calibration images, one after the other."""

    def __init__(self, name: str, images: Sequence[np.ndarray]) -> None:
        self.feeds = iter([{name: image} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image, None behind the last."""
        return next(self.feeds, None)


def prepare_int8(row: Row, work: Path) -> tuple[Candidate, ...]:
    """Ours in both precisions and every peer, those files made that are not there yet; ours comes first."""
    known = {candidate.name: candidate for candidate in prepare(row, work)}
    folder = work / row.name
    images = smooth_images((1, 3, *row.image), IMAGES)
    ours = folder / f"model_int8_{row.threads}.edgemtl"
    if not ours.exists():
        _compile(folder / "model.onnx", images, row.threads, ours)
    forms = {form: known[f"onnxruntime {form}"].model for form in ("dense", "nonzero")}
    quantised = {form: quantised(path, images) for form, path in forms.items()}
    return (
        Candidate("edgemtl int8", "edgemtl", ours),
        Candidate("edgemtl fp32", "edgemtl", known["edgemtl"].model),
        *(Candidate(f"openvino bf16 {form}", "openvino-bf16", path) for form, path in forms.items()),
        *(Candidate(f"openvino int8 {form}", "openvino-bf16", path) for form, path in quantised.items()),
        *(
            Candidate(f"onnxruntime int8 {form}", "onnxruntime", path)
            for form, path in quantised.items()
            if (form, row.threads) not in CRASHES
        ),
    )


def _compile(model: Path, images: Sequence[np.ndarray], threads: int, bundle: Path) -> None:
    """Weights are random and so are outputs: the check of the result has nothing to say here."""
    calibration = bundle.parent / "calibration"
    calibration.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        np.save(calibration / f"{index}.npy", image)
    options = QuantiseOptions(least_sqnr_db=-99, correct=False)
    compile_model(
        model, CompileOptions(precision="int8", calibration=calibration, threads=threads, quantise=options), bundle
    )


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


def markdown(results: Sequence[Result]) -> str:
    """The table."""
    names = list(dict.fromkeys(t.backend for r in results for t in r.timings))
    lines = ["| row | threads | " + " | ".join(names) + " | fp32 / int8 | strongest peer / int8 |"]
    lines.append("|---" * (len(names) + 4) + "|")
    for result in results:
        cells = {t.backend: t.cell for t in result.timings}
        row = " | ".join(cells.get(name, "-") for name in names)
        gain, bar = result.ratio_to(["edgemtl fp32"]), result.bar
        verdict = f"{gain:.2f}x" + ("" if bar is None else f" (bar {bar}x: {'met' if gain >= bar else 'missed'})")
        peers = result.ratio_to([t.backend for t in result.timings[2:]])
        lines.append(f"| {result.row} | {result.threads} | {row} | {verdict} | {peers:.2f}x |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prepare the models, measure the rows, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", default=["tiny_k2_encoder", "tiny_k2_head", "small_encoder", "small_head"])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("out/bench_int8"))
    parser.add_argument("--table", type=Path, help="write the markdown table here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(processor_line(), flush=True)
    results = []
    for row in rows(options.threads):
        if row.name in options.rows:
            candidates = prepare_int8(row, options.work)
            barred = Row(row.name, row.preset, row.image, row.part, row.threads, BARS[row.part])
            results.append(measure(barred, candidates, options.rounds, options.runs, options.work, "edgemtl fp32"))
            print(markdown(results[-1:]), flush=True)
    (options.work / "results.json").write_text(json.dumps([asdict(r) for r in results], indent=1))
    if options.table:
        options.table.write_text(f"{processor_line()}\n\n{markdown(results)}")


if __name__ == "__main__":
    main()
