"""Images as a camera gives them: the program's input becomes bytes, which the graph normalises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgemtl.errors import UsageError
from edgemtl.frontend.model import InputSpec, MultiTaskModel
from edgemtl.graph import add_constant, result
from edgemtl.suggest import one_of

CHANNELS = (1, 3)
"""Of a picture."""


def take_frames(model: MultiTaskModel, names: Sequence[str]) -> MultiTaskModel:
    """The model with the images called ``names`` as uint8 [1, H, W, C], normalised by the graph itself.

    The graph computes (pixel / 255 - mean) / std in float32, as pictures are normalised elsewhere. Raises UsageError
    for an input that is no image of 1 or 3 channels, and for one whose normalisation nobody says.
    """
    if not names:
        return model
    known = {of.name: of for of in model.inputs}
    for name in names:
        _check(name, known)
    graph = model.ir.clone()
    cameras = {name: replace(known[name], shape=_turned(known[name]), dtype="uint8") for name in names}
    for index, value in enumerate(graph.graph.inputs):
        if str(value.name) in cameras:
            graph.graph.inputs[index] = _normalise(graph.graph, value, known[str(value.name)])
    inputs = tuple(cameras.get(of.name, of) for of in model.inputs)
    said = (f"input {name}: uint8 {list(of.shape)}, normalised in the program" for name, of in cameras.items())
    return replace(model, ir=graph, inputs=inputs, notes=(*model.notes, *said))


def _check(name: str, known: dict[str, InputSpec]) -> None:
    if name not in known:
        raise UsageError(one_of("--camera", known, name))
    of = known[name]
    if not of.is_image or of.shape[1] not in CHANNELS:
        raise UsageError(
            f"--camera {name} must be a float32 image [1, C, H, W] of 1 or 3 channels, not {of.dtype} {list(of.shape)}"
        )
    if of.mean is None or of.std is None:
        raise UsageError(f"--camera {name} must come with --mean and --std, since the model records no normalisation")


def _turned(of: InputSpec) -> tuple[int, ...]:
    batch, channels, height, width = of.shape
    return batch, height, width, channels


def _normalise(graph: ir.Graph, image: ir.Value, of: InputSpec) -> ir.Value:
    """The input that takes the place of ``image``, with the nodes that make that of it."""
    name = of.name
    frame = ir.Value(name=name, shape=ir.Shape(_turned(of)), type=ir.TensorType(ir.DataType.UINT8))
    image.name = f"{name}.normalised"
    first = next(iter(graph))
    constants = {
        "scale": ("Div", np.array(255, np.float32)),
        "mean": ("Sub", np.asarray(of.mean, np.float32).reshape(1, -1, 1, 1)),
        "std": ("Div", np.asarray(of.std, np.float32).reshape(1, -1, 1, 1)),
    }
    nodes = [
        ir.node("Cast", [frame], attributes={"to": int(ir.DataType.FLOAT)}, name=f"{name}/Cast"),
    ]
    nodes.append(ir.node("Transpose", [result(nodes[-1])], attributes={"perm": (0, 3, 1, 2)}, name=f"{name}/Transpose"))
    for what, (kind, array) in constants.items():
        operands = [result(nodes[-1]), add_constant(graph, f"{name}.{what}", array)]
        nodes.append(ir.node(kind, operands, name=f"{name}/{what}"))
    for node in nodes:
        value = result(node)
        value.name, value.type = f"{node.name}_out", ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape(_turned(of) if node.op_type == "Cast" else of.shape)
        graph.insert_before(first, node)
    ir.convenience.replace_all_uses_with(image, result(nodes[-1]), replace_graph_outputs=True)
    return frame
