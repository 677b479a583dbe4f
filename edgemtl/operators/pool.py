"""Pooling of images that lie channels-last, rows [height * width, channels]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgemtl.hw import law_weightless
from edgemtl.hw.arith import unpack_scale
from edgemtl.hw.law import Finish
from edgemtl.hw.law_weightless import Windows
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values, float32, int8, int32

PoolKind = Literal["max", "average"]
BYTES = Finish("int8")


@dataclass(frozen=True)
class _Pool(Operator):
    """[height * width, channels] to [out_height * out_width, channels]."""

    kind: PoolKind
    channels: int
    windows: Windows

    @property
    def label(self) -> str:
        return "pool"

    @property
    def _shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        windows = self.windows
        return (windows.pixels, self.channels), (windows.out_pixels, self.channels)


@dataclass(frozen=True)
class Pool(_Pool):
    """The largest of each window, or its sum times ``factor``, one over the pixels that count."""

    @property
    def signature(self) -> Signature:
        x, y = self._shapes
        factor = {"factor": float32(self.windows.out_pixels)} if self.kind == "average" else {}
        return Signature({"x": float32(*x)}, {"y": float32(*y)}, factor)

    def compute(self, values: Values) -> tuple[Array, ...]:
        x = values["x"].reshape(self.windows.height, self.windows.width, self.channels)
        if self.kind == "max":
            return (self.windows.cut(x, -np.inf).max((2, 3)).reshape(-1, self.channels),)
        total = self.windows.cut(x, 0.0).sum((2, 3)).reshape(-1, self.channels)
        return (np.asarray(total * values["factor"][:, None], np.float32),)


@dataclass(frozen=True)
class QPool(_Pool):
    """`law_weightless.max_pool`, or `law_weightless.average_pool` of integers that stand for 0 at ``zero``.

    how: what becomes of an average. is_fine: its multipliers have 20 bits instead of 17.
    """

    zero: int = 0
    how: Finish = BYTES
    is_fine: bool = False

    @property
    def signature(self) -> Signature:
        x, y = self._shapes
        scale = {"scale": int32(self.windows.out_pixels)} if self.kind == "average" else {}
        return Signature({"x": int8(*x)}, {"y": TensorType(y, self.how.dtype)}, scale)

    def compute(self, values: Values) -> tuple[Array, ...]:
        x = values["x"].reshape(self.windows.height, self.windows.width, self.channels)
        if self.kind == "max":
            return (law_weightless.max_pool(x, self.windows).reshape(-1, self.channels),)
        mul, shift = unpack_scale(values["scale"])
        y = law_weightless.average_pool(x, self.windows, self.zero, mul, shift, self.how)
        return (y.reshape(-1, self.channels),)
