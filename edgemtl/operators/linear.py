"""Linear layers over rows, with an activation and a residual behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgemtl.hw import law
from edgemtl.hw.arith import unpack_scale
from edgemtl.hw.law import Finish
from edgemtl.hw.law_weights4 import GROUP, CodedWeight
from edgemtl.operators.activations import SATURATING, activate
from edgemtl.operators.operator import (
    Array,
    Operator,
    Signature,
    TensorType,
    Values,
    activation,
    float32,
    int8,
    int16,
    int32,
    uint8,
)


def table_of(how: Finish) -> dict[str, TensorType]:
    """A curve's table: int8 of every byte, by byte + 128, or int16 of every wide value, by value + 2048."""
    return {"table": int16(4096) if how.wide else int8(256)}


def weight_of(k: int, n: int, coded: bool) -> dict[str, TensorType]:
    """The constants of an integer weight [k, n]: int8, or where it is ``coded`` those of `CodedWeight`."""
    if coded:
        return {"codes": uint8(-(-k // 2), n), "multipliers": int8(-(-k // GROUP), n)}
    return {"weight": int8(k, n)}


def expanded(k: int, *weight: Array) -> Array:
    """The weight int8 [k, n] of the constants that `weight_of` names, in their order."""
    if len(weight) == 1:
        return weight[0]
    codes, multipliers = weight
    return CodedWeight(k, codes, multipliers).expand()


@dataclass(frozen=True)
class Linear(Operator):
    """Y [rows, n] = act(X [rows, k] W [k, n] + b [n]), plus R [rows, n] where ``residual``."""

    rows: int
    k: int
    n: int
    activation: str
    residual: bool

    @property
    def signature(self) -> Signature:
        inputs = {"x": float32(self.rows, self.k)}
        if self.residual:
            inputs["residual"] = float32(self.rows, self.n)
        constants = {"weight": float32(self.k, self.n), "bias": float32(self.n)}
        return Signature(inputs, {"y": float32(self.rows, self.n)}, constants)

    @property
    def macs(self) -> int:
        return self.rows * self.k * self.n

    def compute(self, values: Values) -> tuple[Array, ...]:
        y = activate(self._sums(values), self.activation)
        return (y + values["residual"] if self.residual else y,)

    @property
    def parts(self) -> tuple[str, ...]:
        return ("pre",) if self.activation not in SATURATING else ()

    def part(self, name: str, values: Values) -> Array:
        return self._sums(values)

    def _sums(self, values: Values) -> Array:
        return np.asarray(values.multiply(values["x"], values["weight"]) + values["bias"])


@dataclass(frozen=True)
class QLinear(Operator):
    """`law.linear`: int8 [rows, k] (and the residual, int16 [rows, n]) to int8 or int16 [rows, n].

    Where it is ``wide`` it reads int16 [rows, k] of 12 bits; where it is ``coded`` its weights are in 4 bits.

    ``scale`` is `edgemtl.hw.arith.pack_scale`'s: a multiplier and a shift for each of the n columns.
    """

    rows: int
    k: int
    n: int
    how: Finish
    table: bool = False
    residual: bool = False
    wide: bool = False
    coded: bool = False

    @property
    def signature(self) -> Signature:
        inputs = {"x": activation(self.wide, self.rows, self.k)}
        if self.residual:
            inputs["residual"] = int16(self.rows, self.n)
        constants = {**weight_of(self.k, self.n, self.coded), "bias": int32(self.n), "scale": int32(self.n)}
        outputs = {"y": TensorType((self.rows, self.n), self.how.dtype)}
        return Signature(inputs, outputs, constants | (table_of(self.how) if self.table else {}))

    @property
    def macs(self) -> int:
        return self.rows * self.k * self.n

    @property
    def label(self) -> str:
        return "linear"

    def compute(self, values: Values) -> tuple[Array, ...]:
        table = values["table"] if self.table else None
        residual = values["residual"] if self.residual else None
        scale = unpack_scale(values["scale"])
        weight = expanded(self.k, *(values[name] for name in weight_of(self.k, self.n, self.coded)))
        return (law.linear(values["x"], weight, values["bias"], *scale, self.how, table, residual),)
