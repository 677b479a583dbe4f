"""The whole way on this machine: python -m examples.rooms.demo --out out/demo.

Takes the trained checkpoint beside this file, exports it, compiles every task into one bundle, runs all tasks on
held-out rendered scenes with ground truth and on a real photograph (out of the model's domain), switching between
tasks, writes the pictures and prints one table.  Every figure is measured on this machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from edgemtl.driver import compile_model, inspect_model
from edgemtl.evaluate.latency import TaskLatency, measure_latency
from edgemtl.evaluate.metrics import Meter, make_meter
from edgemtl.exporters.checkpoints import load_checkpoint
from edgemtl.exporters.models import M3ViT
from edgemtl.exporters.to_onnx import export_onnx
from edgemtl.images import normalise, read_picture, resize_rgb
from edgemtl.options import CompileOptions
from edgemtl.partition import Cost, Inspection
from edgemtl.processor import resolve, this_processor
from edgemtl.report.pictures import colourise, contact_sheet
from edgemtl.runtime import Memory, Session
from edgemtl.units import format_bytes
from examples.rooms.data import HELD_OUT_SEED, Pool, render_pool

HERE = Path(__file__).parent
CHECKPOINT, PHOTO = HERE / "m3vit_demo.safetensors", HERE / "photo.jpg"
SHOWN_SCENES = 6
# The metric that stands for a kind of task in the table, with its unit.
HEADLINE = {
    "segmentation": ("miou", "mIoU"),
    "depth": ("rmse", "RMSE m"),
    "normals": ("mean_angle", "angle deg"),
    "edges": ("f_score", "edge F"),
}


@dataclass(frozen=True)
class Accuracy:
    """One task's headline metric from the compiled bundle and from torch, and their largest difference."""

    metric: str
    compiled: float
    torch: float
    max_abs_error: float


def export(model_file: Path) -> M3ViT:
    """Load the checkpoint, export it, return the torch model."""
    model = load_checkpoint(CHECKPOINT)
    export_onnx(model, model_file)
    return model.eval()


def measure_accuracy(session: Session, torch_model: M3ViT, pool: Pool) -> dict[str, Accuracy]:
    """Every task on every scene of ``pool``, compiled and in torch."""
    infos = {name: session.task_info(name) for name in session.tasks}
    meters = {(name, who): make_meter(i.kind, i.channels) for name, i in infos.items() for who in ("ours", "torch")}
    worst = dict.fromkeys(session.tasks, 0.0)
    for index in range(len(pool)):
        image = model_input(session, pool.image[index])
        with torch.inference_mode():
            reference = {name: out.numpy() for name, out in torch_model.forward_all(torch.from_numpy(image)).items()}
        for name, ours in session.run(list(session.tasks), image).items():
            label = label_of(pool, index, infos[name].kind)
            meters[name, "ours"].add(ours[0], label)
            meters[name, "torch"].add(reference[name][0], label)
            worst[name] = max(worst[name], float(np.abs(ours - reference[name]).max()))
    return {name: _accuracy(infos[name].kind, meters, name, worst[name]) for name in session.tasks}


def _accuracy(kind: str, meters: dict[tuple[str, str], Meter], name: str, worst: float) -> Accuracy:
    metric, title = HEADLINE[kind]
    return Accuracy(title, meters[name, "ours"].result()[metric], meters[name, "torch"].result()[metric], worst)


def model_input(session: Session, rgb: np.ndarray) -> np.ndarray:
    """A picture as the model takes it: resized, normalised, float32 [1,3,H,W]."""
    height, width = session.input.shape[2:]
    assert session.input.mean is not None
    assert session.input.std is not None
    return normalise(resize_rgb(rgb, height, width, session.input.resize_filter), session.input.mean, session.input.std)


def label_of(pool: Pool, index: int, kind: str) -> np.ndarray:
    """Scene ``index``'s ground truth for a kind of task, as the meters take it."""
    labels: dict[str, np.ndarray] = {
        "segmentation": pool.classes[index],
        "depth": pool.depth[index].astype(np.float32),
        "normals": pool.normals[index].transpose(2, 0, 1).astype(np.float32) / 127,
        "edges": pool.edges[index],
    }
    return labels[kind]


def draw(session: Session, pictures: Sequence[np.ndarray], target: Path) -> None:
    """A sheet of pictures, one a row, beside what every task says of it."""
    height, width = session.input.shape[2:]
    rows = []
    for rgb in pictures:
        outputs = session.run(list(session.tasks), model_input(session, rgb))
        painted = [colourise(out[0], session.task_info(name).kind) for name, out in outputs.items()]
        rows.append([resize_rgb(rgb, height, width).astype(np.uint8), *painted])
    Image.fromarray(contact_sheet(rows, ("image", *session.tasks), scale=2)).save(target)


def peak_memory_bytes(bundle: Path) -> int:
    """Peak resident memory of a fresh process that runs every task of ``bundle`` once; Python and numpy included."""
    code = (
        "import sys, numpy as np\n"
        "from edgemtl.runtime import Session\n"
        "with Session.open(sys.argv[1]) as s:\n"
        "    s.run(list(s.tasks), np.zeros(s.input.shape, np.float32))\n"
        "    print(s.memory.peak_resident_bytes)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True)
    return int(answer.stdout)


def table_title(scenes: int, threads: int) -> str:
    """What the figures were taken with and on: the processor, and the target that its code is for."""
    processor = this_processor()
    machine = f"{processor.model or processor.architecture}, target {resolve('cpu').name}"
    return f"{scenes} held-out scenes, {threads} threads, all figures measured\n{machine}"


def print_table(accuracy: dict[str, Accuracy], latency: Sequence[TaskLatency], costs: Inspection, title: str) -> None:
    """The demo's one table."""
    table = Table(title=title, title_justify="left")
    for column in ("task", "metric", "compiled", "torch", "max abs error", "ms", "switch ms", "MMAC", "weights"):
        table.add_column(column, justify="left" if column in ("task", "metric") else "right")
    of_task = {inspected.task.name: inspected.cost for inspected in costs.tasks}
    for row in latency:
        a = accuracy[row.task]
        quality = (a.metric, f"{a.compiled:.4f}", f"{a.torch:.4f}", f"{a.max_abs_error:.1e}")
        speed = (f"{row.median_ms:.2f}", f"{row.switch_ms:+.2f}")
        table.add_row(row.task, *quality, *speed, *_cost_cells(of_task[row.task]))
    table.add_row("full model", *[""] * 6, *_cost_cells(costs.full))
    Console(width=120).print(table)


def _cost_cells(cost: Cost) -> tuple[str, str]:
    return f"{cost.macs / 1e6:.1f}", format_bytes(cost.weight_bytes)


def print_memory(memory: Memory, peak: int) -> None:
    """What the runtime holds, and the peak of a process that does nothing else."""
    parts = {
        "arena": memory.arena_bytes,
        "prepared weights": memory.prepared_bytes,
        "mapped weights": memory.weights_bytes,
        "peak of a process with Python and numpy": peak,
    }
    print("memory, measured: " + ", ".join(f"{name} {format_bytes(size)}" for name, size in parts.items()))


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model_file, bundle = options.out / "m3vit_demo.onnx", options.out / "m3vit_demo.edgemtl"
    torch_model = export(model_file)
    compile_model(model_file, CompileOptions(threads=options.threads), bundle)
    pool = render_pool(HELD_OUT_SEED, options.scenes)
    with Session.open(bundle, threads=options.threads) as session:
        accuracy = measure_accuracy(session, torch_model, pool)
        draw(session, list(pool.image[:SHOWN_SCENES]), options.out / "scenes.png")
        draw(session, [np.asarray(read_picture(PHOTO, 3).image)], options.out / "photo.png")
        latency = measure_latency(session, session.tasks, warmup=10, runs=50, seed=0)
        memory = session.memory
    print_table(accuracy, latency, inspect_model(model_file), table_title(options.scenes, options.threads))
    print_memory(memory, peak_memory_bytes(bundle))
    print(f"pictures: {options.out}/scenes.png (held-out), {options.out}/photo.png (a photograph, out of domain)")


if __name__ == "__main__":
    main()
