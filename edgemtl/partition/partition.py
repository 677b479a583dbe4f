"""One graph with many tasks in, one graph per task out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import onnx_ir as ir

from edgemtl.bundle import MoEEntry
from edgemtl.errors import UsageError
from edgemtl.frontend import MultiTaskModel, Task
from edgemtl.frontend.moe_node import MoEAttributes, attach_functions, moe_nodes
from edgemtl.operators import Frame
from edgemtl.partition.batchnorm import fold_batchnorms
from edgemtl.partition.calibrate import Images, check_images, count_picks, drop_unpicked, measure
from edgemtl.partition.cut import cut, drop_unread_inputs, sweep
from edgemtl.partition.experts import keep_experts, pathways
from edgemtl.partition.fold import fold_constants
from edgemtl.partition.layer_scale import fold_layer_scales
from edgemtl.partition.model import Calibration, TaskModel
from edgemtl.partition.share import share_tensors
from edgemtl.vocabulary import PATHWAYS, Pathway


def partition(
    model: MultiTaskModel, tasks: Sequence[str], mode: str, calibration: Iterable[Frame] | None = None
) -> tuple[TaskModel, ...]:
    """One TaskModel per name in `tasks`, in their order; the model itself is not changed.

    mode: which experts stay.
      "exact": every expert the router could pick. Where the model fixes a window of experts per task those
      are the window's, so a window model gives the same graph as in "window".
      "window": the same graph, and the promise that the model itself made it small: some layer has a window.
      "calibrated": only experts that some token of the `calibration` images picked. Each is a frame with an
      array of every input; what dropping cost is measured on them and reported.

    Raises UsageError for a mode, tasks or calibration images that are not there or do not go together,
    InputError for an image that does not fit and UnsupportedError for experts without constant weights.
    """
    chosen, pathway = _choose_tasks(model, tasks), _check_mode(model, mode)
    if pathway != "calibrated" and calibration is not None:
        raise UsageError(f"calibration images must come with the calibrated pathway, not with {mode}")
    images = check_images(calibration, model.inputs) if pathway == "calibrated" else None
    models = tuple(_specialise(model, task, pathway, images) for task in chosen)
    share_tensors(task.ir for task in models)
    return models


def _choose_tasks(model: MultiTaskModel, names: Sequence[str]) -> tuple[Task, ...]:
    known = {task.name: task for task in model.tasks}
    if not names or len(set(names)) != len(names) or not set(names) <= set(known):
        raise UsageError(f"tasks must be different ones of {', '.join(known)}, not {', '.join(names) or 'none'}")
    return tuple(known[name] for name in names)


def _check_mode(model: MultiTaskModel, mode: str) -> Pathway:
    if mode not in PATHWAYS:
        raise UsageError(f"pathway must be one of {', '.join(PATHWAYS)}, not {mode!r}")
    windows = [node for node in moe_nodes(model.ir) if MoEAttributes.from_node(node).window]
    if mode == "window" and not windows:
        raise UsageError(
            f"--pathway window must have a layer that fixes its experts per task, and none of the "
            f"{len(model.moe)} MoE layers does; use exact, or calibrated with --calibration FOLDER"
        )
    return cast(Pathway, mode)


def _specialise(model: MultiTaskModel, task: Task, pathway: Pathway, images: Images | None) -> TaskModel:
    graph = cut(model, task)
    fold_constants(graph)
    folded = fold_batchnorms(graph.graph)
    scales = fold_layer_scales(graph.graph)
    reachable = remaining = pathways(graph)
    exact, counts = graph, None
    if images is not None:
        exact, counts = graph.clone(), count_picks(graph, reachable, images)
        remaining = drop_unpicked(reachable, counts)
    keep_experts(graph, remaining)
    sweep(graph)
    drop_unread_inputs(graph)
    attach_functions(graph)
    measured = None if images is None or counts is None else measure(exact, graph, images, counts)
    losses = (*_expert_notes(reachable, remaining, measured), *_loss_notes(measured))
    notes = (*_folding_notes(folded, scales), *losses, *_input_notes(model, graph))
    return TaskModel(task, graph, model.inputs, pathway, remaining, notes, measured)


def _input_notes(model: MultiTaskModel, graph: ir.Model) -> list[str]:
    """What is not part of the task's program."""
    reads = {str(value.name) for value in graph.graph.inputs}
    unread = [spec.name for spec in model.inputs if spec.name not in reads]
    return [f"input {', '.join(unread)} not read"] if unread else []


def _folding_notes(norms: int, scales: int) -> list[str]:
    counts = {"BatchNormalization": norms, "Mul by a constant per channel": scales}
    return [f"{count} {what} folded into the layers before them" for what, count in counts.items() if count]


def _expert_notes(
    reachable: Sequence[MoEEntry], remaining: Sequence[MoEEntry], measured: Calibration | None
) -> list[str]:
    notes = []
    for before, after in zip(reachable, remaining, strict=True):
        if len(before.experts) < before.total:
            fixed = f"{len(before.experts)} of {before.total} experts are within the task's reach"
            notes.append(f"{before.node}: {fixed}: {_listed(before.experts)}")
        gone = [expert for expert in before.experts if expert not in after.experts]
        if gone and measured is not None:
            notes.append(f"{after.node}: experts {_listed(gone)} dropped, picked on none of {measured.images} images")
    return notes


def _loss_notes(measured: Calibration | None) -> list[str]:
    if measured is None:
        return []
    loss = f"max abs {measured.max_abs:.1e}, mean abs {measured.mean_abs:.1e}"
    notes = [f"calibrated and exact outputs differ by {loss} on the {measured.images} calibration images"]
    if measured.unseen_share is not None:
        share = f"{measured.unseen_share:.2%} of an image's picks"
        notes.append(f"leaving each image out in turn, {share} go to experts the other images never pick")
    return notes


def _listed(experts: Sequence[int]) -> str:
    return ", ".join(map(str, experts))
