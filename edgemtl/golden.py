"""Golden pairs: what onnxruntime answers to a drawn input, kept in the bundle for its self-test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgemtl.bundle import GoldenEntry, crop_input, expand_input, pack_golden
from edgemtl.frontend import MultiTaskModel
from edgemtl.frontend.moe_node import MoEAttributes, moe_nodes
from edgemtl.integers import Quantised
from edgemtl.onnx_runtime import open_session
from edgemtl.partition import TaskModel
from edgemtl.quantize.execute import run_steps
from edgemtl.quantize.functional import INTEGER

Array = NDArray[np.float32]

TOLERANCE = 1e-4
# A router that hesitates this little may fall either way in another order of additions.
LEAST_MARGIN = 1e-5
DRAWS = 8


def make_golden(
    model_file: Path, model: MultiTaskModel, tasks: Sequence[TaskModel], first_image: Array | None, seed: int
) -> tuple[tuple[GoldenEntry, ...], dict[str, bytes], tuple[str, ...]]:
    """A golden pair per task as manifest entries and sections, and notes.

    The input is ``first_image`` where given (a calibration image: it picks no dropped expert), else the one of a few
    drawn from ``seed`` on which the routers hesitate least.  The output is onnxruntime's, from the user's file.
    """
    entries, sections, notes = [], {}, []
    for task in tasks:
        stored, margin = _choose(task, first_image, seed)
        whole = expand_input(stored, model.input.shape)
        entry, members = pack_golden(task.task.name, stored, _answer(model_file, model, task, whole), TOLERANCE)
        entries.append(entry)
        sections.update(members)
        if margin < LEAST_MARGIN:
            notes.append(
                f"{task.task.name}: a router hesitates by {margin:.1e} on the golden input; its self-test may fail"
            )
    return tuple(entries), sections, tuple(notes)


def make_integer_golden(
    quantised: Quantised, model: MultiTaskModel, first_image: Array | None, seed: int
) -> tuple[tuple[GoldenEntry, ...], dict[str, bytes], tuple[str, ...]]:
    """A golden pair per integer task: what the law answers to ``first_image`` or an input drawn from ``seed``.

    Layers kept in float give the fp32 tolerance, and a rounding may then fall the other way: a note says so.
    """
    entries, sections, notes = [], {}, []
    drawn = np.random.default_rng(seed).standard_normal(model.input.shape, np.float32)
    stored = crop_input(first_image if first_image is not None else drawn)
    whole = expand_input(stored, model.input.shape)
    for name, task in quantised.integers.items():
        output = run_steps(task.steps, INTEGER, whole)
        entry, members = pack_golden(name, stored, output, TOLERANCE * np.abs(output).max() if task.kept else 0.0)
        entries.append(entry)
        sections.update(members)
        if task.kept:
            notes.append(f"{name}: layers in float32 may round otherwise elsewhere; its self-test may fail there")
    return tuple(entries), sections, tuple(notes)


def _choose(task: TaskModel, image: Array | None, seed: int) -> tuple[Array, float]:
    """The part of an input to store, and the least margin of any router on it."""
    generator = np.random.default_rng(seed)
    shape = task.input.shape
    drawn = [image] if image is not None else [generator.standard_normal(shape, np.float32) for _ in range(DRAWS)]
    stored = [crop_input(candidate) for candidate in drawn]
    margins = _least_margins(task, [expand_input(part, shape) for part in stored])
    best = int(np.argmax(margins))
    return stored[best], margins[best]


def _least_margins(task: TaskModel, images: Sequence[Array]) -> list[float]:
    """Per image, the least gap between the last probability a router picks and the first it does not."""
    watched = task.ir.clone()
    nodes = list(moe_nodes(watched))
    watched.graph.outputs.extend(node.inputs[1] for node in nodes)  # type: ignore[misc]
    session = open_session(ir.to_proto(watched).SerializeToString())
    held = [MoEAttributes.from_node(node) for node in nodes]
    runs = (session.run(None, {task.input.name: image})[1:] for image in images)
    return [min((_margin(x, a) for x, a in zip(logits, held, strict=True)), default=np.inf) for logits in runs]


def _margin(logits: Array, held: MoEAttributes) -> float:
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    probability = exponent / exponent.sum(axis=-1, keepdims=True)
    candidates = probability if held.experts is None else probability[:, list(held.experts)]
    ranked = -np.sort(-candidates, axis=-1)
    return float((ranked[:, held.k - 1] - ranked[:, held.k]).min()) if held.k < ranked.shape[1] else np.inf


def _answer(model_file: Path, model: MultiTaskModel, task: TaskModel, image: Array) -> Array:
    """onnxruntime's output: of the user's file where that is exact and takes the image alone, else of the task."""
    if task.pathway != "calibrated":
        session = open_session(model_file)
        names = (
            [value.name for value in session.get_inputs()],
            [value.name for value in session.get_outputs()],
        )
        if names[0] == [model.input.name] and task.task.output in names[1]:
            return np.asarray(session.run([task.task.output], {model.input.name: image})[0])
    session = open_session(ir.to_proto(task.ir).SerializeToString())
    return np.asarray(session.run(None, {task.input.name: image})[0])
