"""Weights of one file that are nearly another file's: taken from there, or stored as a quantised difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgemtl.merge.delta import insert_delta, make_delta
from edgemtl.merge_options import MergeOptions
from edgemtl.operators import Array
from edgemtl.partition.share import ContentKeys

MAX_DELTA = 0.5
"""Of the mean magnitude of a tensor: tensors trained apart differ, on average, by more than they are."""
SAMPLES = 1024
"""Elements by which the nearest of many tensors is chosen."""


@dataclass(frozen=True)
class Approximation:
    """How many weights of a file are taken from another, and how many are stored as differences, in how many bytes."""

    near_weights: int = 0
    delta_weights: int = 0
    delta_bytes: int = 0


def approximate(graphs: Sequence[ir.Graph], options: MergeOptions) -> tuple[Approximation, ...]:
    """What was done to each graph, by the tolerance and deltas of ``options``. In place; the first stays as it is."""
    if not options.tolerance and options.deltas is None:
        return (Approximation(),) * len(graphs)
    bases = _Bases()
    approximations = []
    # Differences of infinities are not near anything.
    with np.errstate(invalid="ignore", over="ignore"):
        for graph in graphs:
            approximations.append(_approximate(graph, bases, options))
            bases.add(graph)
    return tuple(approximations)


def _approximate(graph: ir.Graph, bases: _Bases, options: MergeOptions) -> Approximation:
    near = deltas = delta_bytes = 0
    for value in _weights(graph):
        assert value.const_value is not None
        base = bases.nearest(value.const_value)
        if base is None:
            continue
        difference = value.const_value.numpy() - base.tensor.numpy()
        if np.abs(difference).max() <= options.tolerance * base.largest:
            value.const_value = base.tensor
            near += 1
        elif options.deltas is not None and _mean(difference) <= MAX_DELTA * _mean(base.tensor.numpy()):
            delta = make_delta(difference, options.deltas)
            if delta is not None:
                insert_delta(graph, value, base.tensor.numpy(), delta)
                deltas, delta_bytes = deltas + 1, delta_bytes + delta.stored_bytes
    return Approximation(near, deltas, delta_bytes)


def _weights(graph: ir.Graph) -> list[ir.Value]:
    values = graph.initializers.values()
    return [v for v in values if v.const_value is not None and v.dtype == ir.DataType.FLOAT and v.const_value.size]


@dataclass(frozen=True)
class _Base:
    """A stored tensor, some of its elements, and the largest magnitude in it."""

    tensor: ir.TensorProtocol
    sample: Array
    largest: float


@dataclass
class _Bases:
    """The weights that are stored whole so far, by shape."""

    _by_shape: dict[tuple[int, ...], list[_Base]] = field(default_factory=dict)
    _known: set[bytes] = field(default_factory=set)
    _content: ContentKeys = field(default_factory=ContentKeys)

    def add(self, graph: ir.Graph) -> None:
        """The weights of one graph, those that are equal once."""
        for value in _weights(graph):
            tensor = value.const_value
            assert tensor is not None
            if self._content(tensor) not in self._known:
                self._known.add(self._content(tensor))
                array = tensor.numpy()
                base = _Base(tensor, _sample(array), float(np.abs(array).max()))
                self._by_shape.setdefault(array.shape, []).append(base)

    def nearest(self, tensor: ir.TensorProtocol) -> _Base | None:
        """The tensor of the same shape that differs least; None where there is none, or an equal one."""
        bases = self._by_shape.get(tuple(tensor.shape.numpy()))
        if not bases or self._content(tensor) in self._known:
            return None
        sample = _sample(tensor.numpy())
        distances = [float(np.abs(base.sample - sample).max()) for base in bases]
        return bases[int(np.argmin(distances))]


def _mean(array: Array) -> float:
    """Of magnitudes."""
    return float(np.abs(array).mean(dtype=np.float64))


def _sample(array: Array) -> Array:
    flat = array.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLES)].copy()
