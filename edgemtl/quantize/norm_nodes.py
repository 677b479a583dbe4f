"""What normalising nodes compute: their rows, and what these are multiplied by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from edgemtl.hw.law_generic import NormRows
from edgemtl.operators import Array
from edgemtl.tvm_bridge.generic import Generic


@dataclass(frozen=True)
class Norm:
    """A normalisation: the order of axes that brings its rows together, the rows, and what they are multiplied by.

    gamma, beta [parameters]; ``is_centred``: by mean and deviation, else by the root of the mean of the squares.
    ``floor``: the least norm, the root of the sum of the squares, by which rows are divided.
    """

    axes: tuple[int, ...]
    region: NormRows
    epsilon: float
    is_centred: bool
    gamma: Array = field(repr=False)
    beta: Array = field(repr=False)
    floor: float = 0.0


def norm_of(spec: Generic) -> Norm:
    """The normalisation that a node is."""
    call, shape = spec.call, spec.call.main_type.shape
    rank, epsilon = len(shape), float(call.attributes.get("epsilon", 1e-5))
    constants = [call.constants[i].astype(np.float64) for i in sorted(call.constants)]
    if call.op == "InstanceNormalization":
        rows = shape[0] * shape[1]
        gamma, beta = (np.tile(array, shape[0]) for array in constants)
        return Norm(tuple(range(rank)), NormRows(rows, 1, math.prod(shape[2:]), rows), epsilon, True, gamma, beta)
    axis = call.attributes.get("axis", -1) % rank
    if call.op == "LpNormalization":
        axes, width = (*(i for i in range(rank) if i != axis), axis), shape[axis]
        gamma = np.full(width, width**-0.5)
        region, floor = NormRows(math.prod(shape) // width, width, 1, width), call.attributes.get("floor", 0.0)
        return Norm(axes, region, 0.0, False, gamma, np.zeros(width), floor)
    width = math.prod(shape[axis:])
    gamma, beta = (np.broadcast_to(a, shape[axis:]).reshape(-1) for a in (*constants, np.zeros(1))[:2])
    region = NormRows(math.prod(shape) // width, width, 1, width)
    return Norm(tuple(range(rank)), region, epsilon, call.op == "LayerNormalization", gamma, beta)
