"""Frames of a camera: the bytes of an input, normalised channel by channel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgemtl.graph import array_of, attribute, is_op, is_private, main_input, result, shape_of
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant
from edgemtl.lowering.match import Group
from edgemtl.lowering.patterns.axes import CHANNELS_FIRST
from edgemtl.operators import Array, Pixels

LEVELS = 256
MOST_CHANNELS = 16
ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
}


def match_pixels(node: ir.Node) -> Group | None:
    """A uint8 input [1, H, W, C] of at most 16 channels, cast to float32, transposed to [1, C, H, W], and normalised by
    constants for each channel.
    """
    chain = _chain(node)
    if chain is None:
        return None
    frame = main_input(chain[-1])
    assert frame is not None
    table = _table(chain, shape_of(frame)[-1])
    if table is None:
        return None
    return Group("pixels", chain, lambda em: _emit(em, frame, result(node), table))


def is_pixels(value: ir.Value) -> bool:
    """Whether a value is an image that `match_pixels` makes."""
    node = value.producer()
    return node is not None and match_pixels(node) is not None


def _chain(node: ir.Node) -> tuple[ir.Node, ...] | None:
    """The nodes from ``node`` back to the input, each read by the next alone; None where they are others."""
    chain: list[ir.Node] = []
    step: ir.Node | None = node
    while step is not None and is_op(step, *ARITHMETIC, "Cast", "Transpose"):
        chain.append(step)
        source = _source(step)
        if source is None:
            return None
        if source.is_graph_input():
            return tuple(chain) if _is_frame(source) and _is_whole(chain) else None
        step = source.producer() if is_private(source) else None
    return None


def _source(node: ir.Node) -> ir.Value | None:
    """The computed operand of a node whose other operand, if any, is a constant."""
    computed = [value for value in node.inputs if value is not None and array_of(value) is None]
    return computed.pop() if len(computed) == 1 else None


def _is_frame(value: ir.Value) -> bool:
    shape = shape_of(value)
    return value.dtype == ir.DataType.UINT8 and len(shape) == 4 and shape[0] == 1 and shape[-1] <= MOST_CHANNELS


def _is_whole(chain: list[ir.Node]) -> bool:
    """Whether there is one cast to float32, before all arithmetic, and one transposition, to channels first."""
    kinds = [node.op_type for node in chain]
    turns = [node for node in chain if node.op_type == "Transpose"]
    floats = all(result(node).dtype == ir.DataType.FLOAT for node in chain if node.op_type != "Transpose")
    first_arithmetic = max((i for i, kind in enumerate(kinds) if kind in ARITHMETIC), default=-1)
    if kinds.count("Cast") != 1 or len(turns) != 1 or not floats or kinds.index("Cast") < first_arithmetic:
        return False
    return all(tuple(attribute(node, "perm", ())) == CHANNELS_FIRST for node in turns)


def _table(chain: tuple[ir.Node, ...], channels: int) -> Array | None:
    """What the nodes make of every byte, float32 [channels, 256]; None where they treat pixels differently."""
    levels = np.broadcast_to(np.arange(LEVELS, dtype=np.uint8).reshape(1, LEVELS, 1, 1), (1, LEVELS, 1, channels))
    for node in reversed(chain):
        if node.op_type == "Transpose":
            levels = levels.transpose(CHANNELS_FIRST)
        elif node.op_type == "Cast":
            levels = levels.astype(np.float32)
        else:
            operands = [levels if (array := array_of(value)) is None else array for value in node.inputs]
            if any(operand.ndim > 4 or not _is_by_channel(operand, levels) for operand in operands):
                return None
            with np.errstate(all="ignore"):
                levels = ARITHMETIC[node.op_type](*operands)
    return np.ascontiguousarray(levels.reshape(channels, LEVELS), np.float32)


def _is_by_channel(operand: Array, levels: Array) -> bool:
    """Whether an operand is the image, or one value for each channel."""
    if operand is levels:
        return True
    shape = (1,) * (4 - operand.ndim) + operand.shape
    last = levels.shape[1] == LEVELS
    channel, channels = (3, levels.shape[3]) if last else (1, levels.shape[1])
    return all(size == 1 or (axis == channel and size == channels) for axis, size in enumerate(shape))


def _emit(em: Emitter, frame: ir.Value, value: ir.Value, table: Array) -> None:
    _, height, width, channels = shape_of(frame)
    x = em.reshaped(em.views[frame], (height * width, channels))
    y = em.new((height * width, channels))
    em.step(Pixels(height * width, channels), {"x": x, "y": y}, {"table": Constant(f"{frame.name}.pixels", table)})
    em.define_pixels(value, y)
