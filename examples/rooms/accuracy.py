"""What integers and smaller pathways cost: python -m examples.rooms.accuracy, which writes docs/accuracy.md.

Every column is measured on the same held-out scenes. Integer programs are calibrated on scenes of the training set.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from edgemtl.compare import Limits, RouterFigures, compare_sides, make_pair
from edgemtl.driver import compile_model
from edgemtl.exporters.models import M3ViT
from edgemtl.frontend import read_model
from edgemtl.options import CompileOptions, QuantiseOptions
from edgemtl.partition import partition
from edgemtl.processor import resolve
from edgemtl.quantize.quantised_model import quantise
from edgemtl.runtime import Session
from examples.rooms.data import HELD_OUT_SEED, TRAIN_SEED
from examples.rooms.demo import export
from examples.rooms.evaluate import Scores, label_of, make_meters, measure, render_views
from examples.rooms.render import View

CALIBRATION_SCENES: Final = 64
NAIVE: Final = QuantiseOptions(least_sqnr_db=-99, quieten=False, correct=False)
"""Ranges by minmax and rounding, nothing else; whatever comes out is shown."""
CODED_EXPERTS: Final = QuantiseOptions(weights=(("experts", 4),))
CODED: Final = QuantiseOptions(weights=(("experts", 4), ("linear", 4)))

METRICS: Final = (
    ("semseg", "miou", "mIoU", "{:.4f}", True),
    ("depth", "rmse", "RMSE (m)", "{:.4f}", False),
    ("depth", "delta1", "delta < 1.25", "{:.4f}", True),
    ("normals", "mean_angle", "mean angle (deg)", "{:.3f}", False),
    ("edges", "f_score", "edge F (1 px)", "{:.4f}", True),
)


@dataclass(frozen=True)
class Column:
    """One way to run the model: its scores, the bytes of its weights, and those that its largest task reads; 0 for
    torch.
    """

    title: str
    scores: Scores
    weight_bytes: int = 0
    task_bytes: int = 0


@dataclass(frozen=True)
class CompiledBundle:
    """A compiled bundle, and the bytes of weights and parameters that the largest of its tasks reads."""

    bundle: Path
    task_bytes: int


def bundles(model: Path, folder: Path, calibration: Path) -> dict[str, CompiledBundle]:
    """The compiled ways by title."""
    ways = {
        "fp32": CompileOptions(),
        "fp32, calibrated pathway": CompileOptions(pathway="calibrated", calibration=calibration),
        "int8, naive minmax": CompileOptions(precision="int8", calibration=calibration, quantise=NAIVE),
        "int8": CompileOptions(precision="int8", calibration=calibration),
        "int8, calibrated pathway": CompileOptions(precision="int8", pathway="calibrated", calibration=calibration),
        "int8, experts in 4 bits": CompileOptions(precision="int8", calibration=calibration, quantise=CODED_EXPERTS),
        "int8, linear layers in 4 bits": CompileOptions(precision="int8", calibration=calibration, quantise=CODED),
    }
    compiled = {}
    for index, (title, options) in enumerate(ways.items()):
        bundle = folder / f"accuracy_{index}.edgemtl"
        result = compile_model(model, options, bundle)
        compiled[title] = CompiledBundle(bundle, max(task.weight_bytes for task in result.tasks))
        print(f"compiled {title}", flush=True)
    return compiled


def inputs_of(session: Session, views: Sequence[View]) -> list[np.ndarray]:
    """The pictures as the session takes them."""
    mean, std = (np.array(values, np.float32) for values in (session.input.mean, session.input.std))
    planes = (((view.image.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None] for view in views)
    return [np.ascontiguousarray(p) for p in planes]


def measure_bundle(title: str, compiled: CompiledBundle, views: Sequence[View]) -> Column:
    """The scores of a bundle."""
    meters = make_meters()
    with Session.open(compiled.bundle) as session:
        for view, image in zip(views, inputs_of(session, views), strict=True):
            for task, output in session.run(list(session.tasks), image).items():
                meters[task].add(output[0], label_of(view, task))
        weights_bytes = session.memory.weights_bytes
    return Column(title, {task: meter.result() for task, meter in meters.items()}, weights_bytes, compiled.task_bytes)


def measure_routers(
    model: Path, calibration: Mapping[str, np.ndarray], images: Sequence[np.ndarray]
) -> dict[str, list[RouterFigures]]:
    """Per task, how often each router of the int8 program chooses as the float model does in onnxruntime."""
    multi, target = read_model(model), resolve("cpu")
    tasks = partition(multi, [task.name for task in multi.tasks], "exact")
    (spec,) = multi.inputs
    frames = {name: {spec.name: image} for name, image in calibration.items()}
    quantised = quantise(multi, tasks, target, frames, QuantiseOptions())
    routers = {}
    for task in tasks:
        pair = make_pair(task, target, ("onnx", "int8"), quantised, None)
        compared = compare_sides(pair, task, [{spec.name: image} for image in images], Limits())
        routers[task.task.name] = list(compared.routers)
    return routers


def change(value: float, reference: float, larger_is_better: bool) -> str:
    """How much better (+) or worse (-) a value is, relative."""
    gain = (value - reference) / reference * (1 if larger_is_better else -1)
    return f"{100 * gain:+.2f}%"


def render(columns: Sequence[Column], routers: Mapping[str, Sequence[RouterFigures]], scenes: int) -> str:
    """The page."""
    reference = columns[0].scores
    lines = [_HEAD.format(scenes=scenes, calibration=CALIBRATION_SCENES)]
    lines.append("| | " + " | ".join(title for _, _, title, _, _ in METRICS) + " | weights, all tasks | one task |")
    lines.append("|---" * (len(METRICS) + 3) + "|")
    for column in columns:
        cells = []
        for task, metric, _, style, larger in METRICS:
            value = column.scores[task][metric]
            moved = "" if column is columns[0] else f" ({change(value, reference[task][metric], larger)})"
            cells.append(style.format(value) + moved)
        sizes = (f"{size / 2**20:.2f} MiB" if size else "" for size in (column.weight_bytes, column.task_bytes))
        lines.append(f"| {column.title} | " + " | ".join([*cells, *sizes]) + " |")
    lines.append(_ROUTERS)
    lines += ["| task | router | equal choices | weighted by gate |", "|---|---|---|---|"]
    for task, layers in routers.items():
        lines += [f"| {task} | {r.name} | {r.agreement:.2%} | {r.weighted:.2%} |" for r in layers]
    return "\n".join(lines) + "\n"


_HEAD: Final = """# Accuracy

`make accuracy` measures these figures and writes this page: M3ViT-demo on {scenes} held-out rendered scenes. The
relative change against torch is in brackets; plus is better. Integer programs are calibrated on {calibration} scenes of
the training set.

- *int8* is described in [quantisation](quantisation.md) and [the integer law](integer_law.md).
- *naive minmax* is plain min-max quantisation. Compared with *int8* it shows what halved channels and bias correction
  add to the law's 16-bit residual stream and zero points.
- *calibrated pathway* leaves out the experts that the calibration scenes never pick. All tasks together still use every
  expert; one task alone needs fewer. The last column is for the task that needs most.
- *in 4 bits*: [weights of 4 bits](quantisation.md#weights-in-4-bits), of the experts, or of the experts and all other
  linear layers but gates. The convolutions of the heads keep 8 bits.
"""
_ROUTERS: Final = """
The routers of the int8 program compared with the float model in onnxruntime, over the same scenes: the share of equal
(token, expert) choices, and the same share weighted by the float gate's probability.
"""


def main() -> None:
    """Measure every column and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/accuracy"))
    parser.add_argument("--page", type=Path, default=Path("docs/accuracy.md"))
    parser.add_argument("--scenes", type=int, default=200)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model_file = options.out / "m3vit_demo.onnx"
    torch_model: M3ViT = export(model_file)
    calibration = write_calibration(options.out / "calibration")
    views = render_views(HELD_OUT_SEED, options.scenes)
    columns = [Column("torch", measure(torch_model, views)[0])]
    compiled = bundles(model_file, options.out, calibration)
    columns += [measure_bundle(title, way, views) for title, way in compiled.items()]
    with Session.open(compiled["int8"].bundle) as session:
        images = inputs_of(session, views)
        seen = inputs_of(session, render_views(TRAIN_SEED, CALIBRATION_SCENES))
    routers = measure_routers(model_file, {f"{i:03}.png": image for i, image in enumerate(seen)}, images)
    options.page.write_text(render(columns, routers, options.scenes))
    print(options.page.read_text())


def write_calibration(folder: Path) -> Path:
    """Scenes of the training set as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, view in enumerate(render_views(TRAIN_SEED, CALIBRATION_SCENES)):
        Image.fromarray(view.image).save(folder / f"{index:03}.png")
    return folder


if __name__ == "__main__":
    main()
