"""What a graph does to the image first: a factor and a summand for each channel, if it normalises by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.graph import array_of, constant_operand, is_op, result
from edgemtl.operators import Array

IMAGE_RANK = 4


@dataclass(frozen=True)
class Affine:
    """image * factor + summand, float64 [C]; ``end`` is the value that the rest of the graph reads."""

    factor: Array
    summand: Array
    end: ir.Value

    def spell(self) -> str:
        """As a user reads it: what is subtracted, and what the difference is divided by."""
        means, deviations = -self.summand / self.factor, 1 / self.factor
        numbers = (",".join(f"{number:.4g}" for number in array) for array in (means, deviations))
        return "mean {}, std {}".format(*numbers)


def leading_affine(image: ir.Value) -> Affine | None:
    """The additions and multiplications by constants that all readers of ``image`` lie behind; None for none."""
    assert image.shape is not None
    channels = int(image.shape.numpy()[1])
    factor, summand, end = np.ones(channels), np.zeros(channels), image
    for node in _chain(image):
        operands = constant_operand(node)
        constant = array_of(operands[0]) if operands is not None else None
        numbers = _per_channel(constant, channels) if constant is not None else None
        if numbers is None or (is_op(node, "Sub", "Div") and operands != (*reversed(node.inputs),)):
            break
        if is_op(node, "Add", "Sub"):
            summand = summand + numbers if is_op(node, "Add") else summand - numbers
        else:
            numbers = numbers if is_op(node, "Mul") else 1 / numbers
            factor, summand = factor * numbers, summand * numbers
        end = result(node)
    sensible = bool(np.isfinite(factor).all() and np.isfinite(summand).all() and factor.all())
    return Affine(factor, summand, end) if end is not image and sensible else None


def _chain(value: ir.Value) -> Iterator[ir.Node]:
    """Arithmetic nodes behind a value for as long as each is the only reader of the one before."""
    while len(value.uses()) == 1 and not value.is_graph_output():
        (use,) = value.uses()
        if not is_op(use.node, "Add", "Sub", "Mul", "Div"):
            return
        yield use.node
        value = result(use.node)


def _per_channel(constant: Array, channels: int) -> Array | None:
    """A constant as float64 [C]; None where it is not one number, or one for each channel."""
    shape = (1,) * (IMAGE_RANK - constant.ndim) + constant.shape
    if len(shape) != IMAGE_RANK or shape not in ((1, 1, 1, 1), (1, channels, 1, 1)):
        return None
    with np.errstate(divide="ignore"):
        return np.broadcast_to(constant.reshape(-1).astype(np.float64), (channels,))
