"""How layers end: the tensor of their result, what their sums are requantised to, and the table between the two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from edgemtl import operators as ops
from edgemtl.hw.arith import INT8, INT16, encode_ratios
from edgemtl.hw.law import WIDE, Finish
from edgemtl.hw.law_weightless import CURVE_KNOTS, RATIO_BITS
from edgemtl.lowering.ir import Constant, View
from edgemtl.operators import Array
from edgemtl.operators.activations import SATURATING, activate
from edgemtl.quantize.observe import Range
from edgemtl.quantize.tensors import Tensor, affine, wide
from edgemtl.quantize.writer import Writer

FLAT: Mapping[str, tuple[float, float]] = {
    "gelu": (-4.5, math.inf),
    "gelu_tanh": (-4.5, math.inf),
    "silu": (-12.0, math.inf),
    "mish": (-12.0, math.inf),
    "sigmoid": (-7.0, 7.0),
    "tanh": (-3.5, 3.5),
    "hard_sigmoid": (-3.0, 3.0),
    "hard_swish": (-3.0, math.inf),
}
"""Inputs where a curve has reached its limits: sums that saturate there lose less than half an LSB of the result."""

LEVEL: Mapping[str, float] = {"sigmoid": 12.0, "tanh": 7.0, "hard_sigmoid": 3.0}
"""Magnitudes from which on a curve is level in 16 bits."""

MOST_FACTOR = 31.0
"""Below what `arith.encode_scale` takes."""


@dataclass(frozen=True)
class Ending:
    """How a layer ends: its result, the tensor its sums are requantised to, and the table between the two.

    curve: the function of a step behind the layer, where the result has 16 bits.
    """

    result: Tensor
    sums: Tensor
    table: Mapping[str, Constant] = field(default_factory=dict)
    low: int = INT8[0]
    curve: Callable[[Array], Array] | None = None

    @property
    def how(self) -> Finish:
        """The same as a `Finish` of the integer law."""
        return finish_of(self.sums, self.low)


def finish_of(result: Tensor, low: int = INT8[0]) -> Finish:
    """What becomes of results in a tensor, of which ``low`` is the least."""
    assert result.dtype != "float32"
    return Finish(result.dtype, result.zero, low, result.wide)


def rectified(writer: Writer) -> Tensor:
    """The tensor of a result behind a Relu: 16 bits where it is the graph's output, 8 where others read it."""
    takes_all = "final" in writer.result_needs or writer.own_result is not None
    return writer.output_tensor() if takes_all else writer.byte_tensor()


def average_tensor(writer: Writer, unit: float) -> Tensor:
    """The tensor of means of sums whose LSB is ``unit``: of 16 bits, not finer than a requantisation can give."""
    result = writer.output_tensor()
    if result.dtype == "int16" and writer.may_scale_result:
        return replace(result, scale=max(result.scale, unit / MOST_FACTOR))
    return result


def least(result: Tensor) -> int:
    """The least integer behind a Relu; that of a byte, where the tensor reaches no further down."""
    return INT8[0] if is_within(result, "relu") else result.zero


def is_within(result: Tensor, activation: str) -> bool:
    """Whether a tensor reaches no further than what a saturating activation gives, but for rounding."""
    low, high = activate(np.array([-np.inf, np.inf]), activation)
    return bool(result.ends[0] >= low and result.ends[1] <= high + result.scale / 256)


def plan_ending(writer: Writer, activation: str, reach: float = 0.0) -> Ending:
    """How the layer ends; behind an activation in 8 bits, unless it gives the graph's output.

    ``reach``: the largest magnitude that the layer's sums can have; of use where nothing says more about its result.
    """
    if reach and not activation and writer.is_unknown:
        result = Tensor("int16", reach / INT16[1])
        return Ending(result, result)
    if not activation:
        result = writer.output_tensor()
        return Ending(result, result)
    if activation == "relu":
        result = rectified(writer)
        return Ending(result, result, low=least(result))
    if activation in SATURATING:
        return _saturated(writer, activation, writer.byte_tensor())
    result = writer.output_tensor() if "final" in writer.result_needs else writer.byte_tensor()
    if result.dtype == "int16" and not result.wide:
        sums = wide(min(writer.range("pre").reach, LEVEL.get(activation, math.inf)), writer.name)
        return Ending(result, sums, curve=partial(activate, activation=activation))
    return _curved(writer, activation, result)


def _saturated(writer: Writer, activation: str, result: Tensor) -> Ending:
    """An activation with an upper bound in bytes: saturation where they reach no further, else a table of the same."""
    if is_within(result, activation):
        return Ending(result, result)
    return Ending(result, result, {"table": Constant(f"{writer.name}.table", curve_table(activation, result, result))})


@contextmanager
def ended(writer: Writer, ending: Ending, shape: tuple[int, ...]) -> Iterator[View]:
    """Where a layer's step writes; a curve of 16 bits is a step behind it."""
    if ending.curve is None:
        with writer.output(ending.result) as out:
            yield out
        return
    y = writer.temporary("sums", shape, ending.sums)
    yield y
    write_curve(writer, y, ending.curve, ending.result)


def write_curve(writer: Writer, x: View, function: Callable[[Array], Array], result: Tensor) -> None:
    """A function of int16 ``x``, by its knots."""
    knots = function((np.arange(CURVE_KNOTS) * 256.0 - 2**15) * writer.tensors[x.buffer].scale)
    entries = np.clip(np.rint(knots / result.scale), *INT16).astype(np.int16)
    with writer.output(result) as out:
        source, target = (view.reshape((view.size,)) for view in (x, out))
        assert source is not None
        assert target is not None
        table = {"table": Constant(f"{writer.name}.table", entries)}
        writer.step(ops.QCurve(x.size), {"x": source, "y": target}, table)


def plan_sum(writer: Writer, activation: str) -> Ending:
    """How a layer ends whose result is added to the residual stream: in bytes behind a curve or an upper bound."""
    if activation in ("", "relu"):
        stream = writer.stream_tensor
        return Ending(stream, stream, low=0 if activation else INT8[0])
    if activation in SATURATING:
        bytes_ = affine(Range(0.0, float(activate(np.array(np.inf), activation))), writer.name)
        return Ending(bytes_, bytes_)
    before = writer.range("pre")
    curve = activate(np.linspace(before.low, before.high, 1024), activation)
    result = affine(Range(min(float(curve.min()), 0.0), max(float(curve.max()), 0.0)), writer.name)
    return _curved(writer, activation, result)


def add_residual(writer: Writer, y: View, bytes_: Tensor) -> None:
    """The step's result, 16 bits of the residual stream: bytes and the residual."""
    residual, stream = writer.stream_view(writer.source["residual"]), writer.stream_tensor
    (mul, one), shift = encode_ratios((bytes_.scale / stream.scale, 1.0), RATIO_BITS, writer.name)
    offset = -bytes_.zero * mul
    with writer.output(stream) as out:
        operator = ops.QAdd(y.shape, residual.shape, "int8", "int16", (mul, one), offset, shift, Finish("int16"))
        writer.step(operator, {"a": y, "b": residual, "y": out})


def _curved(writer: Writer, activation: str, result: Tensor) -> Ending:
    """An activation by a table of the bytes that the sums become."""
    before, (low, high) = writer.range("pre"), FLAT[activation]
    sums = affine(Range(max(before.low, low), min(before.high, high)), writer.name, result.wide)
    table = curve_table(activation, sums, result)
    return Ending(result, sums, {"table": Constant(f"{writer.name}.table", table)})


def curve_table(activation: str, sums: Tensor, result: Tensor) -> Array:
    """int8 [256]: the activation of every byte, by byte + 128, rounded to the nearest step of the result.

    Of wide sums int16 [4096], by value + 2048.
    """
    low, high = WIDE if sums.wide else INT8
    x = (np.arange(low, high + 1) - sums.zero) * sums.scale
    steps = np.floor(activate(x, activation) / result.scale + 0.5) + result.zero
    return np.asarray(np.clip(steps, low, high), result.dtype)
