"""The mixture of experts: route tokens, run every expert over its own tokens, combine what each token chose.

Slots are the (token, choice) pairs in expert order, ``offsets`` the first slot of each expert and the end of the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgemtl.hw import law
from edgemtl.hw.arith import unpack_scale
from edgemtl.hw.law import Finish
from edgemtl.operators.activations import SATURATING, activate
from edgemtl.operators.linear import expanded, table_of, weight_of
from edgemtl.operators.operator import (
    Array,
    Operator,
    Signature,
    TensorType,
    Types,
    Values,
    float32,
    int32,
)


@dataclass(frozen=True)
class _Routing(Operator):
    """The sizes of a router, in float or in integers."""

    tokens: int
    experts: int
    top_k: int
    candidates: tuple[int, ...]

    def _signature(self, logits: str, weights: str) -> Signature:
        outputs = {
            "weights": TensorType((self.tokens, self.top_k), weights),
            "slots": int32(self.tokens, self.top_k),
            "tokens": int32(self.tokens * self.top_k),
            "offsets": int32(len(self.candidates) + 1),
        }
        return Signature({"logits": TensorType((self.tokens, self.experts), logits)}, outputs)


@dataclass(frozen=True)
class Router(_Routing):
    """Logits [tokens, experts] to weights and slots of each choice, the token of each slot, and first slots.

    Probabilities are over all columns, the choice among ``candidates`` (columns, ascending), ties to the lowest.
    ``normalize`` divides the chosen probabilities by their sum; those below ``threshold`` become 0.
    """

    normalize: bool
    threshold: float

    @property
    def signature(self) -> Signature:
        return self._signature("float32", "float32")

    def compute(self, values: Values) -> tuple[Array, ...]:
        logits, columns = values["logits"], np.array(self.candidates)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        probability = powers / powers.sum(-1, keepdims=True)
        order = np.argsort(-logits[:, columns], axis=-1, kind="stable")[:, : self.top_k]
        weight = np.take_along_axis(probability[:, columns], order, -1)
        if self.normalize:
            weight = weight / weight.sum(-1, keepdims=True)
        weight = np.where(weight < self.threshold, 0, weight).astype(np.float32)
        return (weight, *_queues(order, len(columns)))


def _queues(choices: Array, experts: int) -> tuple[Array, Array, Array]:
    """Slots [T, k], tokens [T k] and offsets [experts + 1], int32, of the choices [T, k]."""
    flat = choices.reshape(-1)
    by_expert = np.argsort(flat, kind="stable")
    slot = np.empty_like(by_expert)
    slot[by_expert] = np.arange(len(flat))
    first = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=experts))])
    places = (slot.reshape(choices.shape), by_expert // choices.shape[1], first)
    slots, tokens, offsets = (a.astype(np.int32) for a in places)
    return slots, tokens, offsets


@dataclass(frozen=True)
class Dispatch(_Routing):
    """Weights [tokens, experts] that the model computed to what `Router` gives.

    The choices are the ``top_k`` weights of largest magnitude among ``candidates`` (NaN before all others, ties to the
    lowest); the model promises that the others are 0.
    """

    @property
    def signature(self) -> Signature:
        return self._signature("float32", "float32")

    def compute(self, values: Values) -> tuple[Array, ...]:
        weights = values["logits"][:, list(self.candidates)]
        order = largest_weights(weights, self.top_k)
        return (np.take_along_axis(weights, order, -1), *_queues(order, len(self.candidates)))


def largest_weights(weights: Array, count: int) -> Array:
    """The columns [T, count] of the weights of largest magnitude, NaN first, of equal ones the lowest."""
    magnitude = np.where(np.isnan(weights), np.inf, np.abs(weights))
    order: Array = np.argsort(-magnitude, axis=-1, kind="stable")[:, :count]
    return order


@dataclass(frozen=True)
class QRouter(_Routing):
    """`law.route`: logits int16 [tokens, experts] to what `Router` gives, with integer weights."""

    normalize: bool
    threshold: int
    fraction_bits: int = law.ROUTER_FRACTION_BITS

    @property
    def signature(self) -> Signature:
        return self._signature("int16", "int32")

    def compute(self, values: Values) -> tuple[Array, ...]:
        sizes = self.top_k, self.candidates, self.normalize, self.threshold, self.fraction_bits
        routes = law.route(values["logits"], *sizes)
        return routes.weight, routes.slot, routes.token, routes.first


@dataclass(frozen=True)
class _ExpertLayer(Operator):
    """The sizes of one linear layer of every expert, in float or in integers."""

    tokens: int
    top_k: int
    slots: int
    k: int
    n: int
    gather: bool

    @property
    def macs(self) -> int:
        return self.tokens * self.top_k * self.k * self.n

    @property
    def label(self) -> str:
        return "up" if self.gather else "down"

    def _signature(self, x: str, repeated: Types, y: str, constants: Types) -> Signature:
        rows = self.tokens * self.top_k
        inputs = {
            "x": TensorType((self.tokens if self.gather else rows, self.k), x),
            "tokens": int32(rows),
            "offsets": int32(self.slots + 1),
        }
        return Signature(inputs, {"y": TensorType((rows, self.n), y)}, constants, repeated, self.slots)

    def _rows(self, values: Values) -> Array:
        """The row of each slot."""
        return values["x"][values["tokens"]] if self.gather else values["x"]


@dataclass(frozen=True)
class Experts(_ExpertLayer):
    """One linear layer of every expert over its own slots: Y[s] = act(X[s] W[e] + b[e]).

    Slots run in expert order. With ``gather`` slot s reads row token[s] of X [tokens, k], else row s of
    X [tokens top_k, k].
    """

    activation: str

    @property
    def signature(self) -> Signature:
        return self._signature("float32", {"weight": float32(self.k, self.n), "bias": float32(self.n)}, "float32", {})

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (activate(self._sums(values), self.activation),)

    @property
    def parts(self) -> tuple[str, ...]:
        return ("pre",) if self.activation not in SATURATING else ()

    def part(self, name: str, values: Values) -> Array:
        return self._sums(values)

    def _sums(self, values: Values) -> Array:
        rows = self._rows(values)
        y = np.empty((len(rows), self.n), np.float32)
        for expert, (begin, end) in enumerate(pairwise(values["offsets"])):
            y[begin:end] = values.multiply(rows[begin:end], values.of("weight", expert)) + values.of("bias", expert)
        return y


@dataclass(frozen=True)
class QExperts(_ExpertLayer):
    """One `law.linear` of every expert over its own slots, in expert order; operands as of `Experts`.

    The result is int8 or int16 [tokens top_k, n]; one ``table`` serves all experts. Where it is ``wide`` it reads int16
    of 12 bits; where it is ``coded`` all weights are in 4 bits.
    """

    how: Finish
    table: bool = False
    wide: bool = False
    coded: bool = False

    @property
    def signature(self) -> Signature:
        repeated = {**weight_of(self.k, self.n, self.coded), "bias": int32(self.n), "scale": int32(self.n)}
        return self._signature(
            "int16" if self.wide else "int8", repeated, self.how.dtype, table_of(self.how) if self.table else {}
        )

    def compute(self, values: Values) -> tuple[Array, ...]:
        rows = self._rows(values)
        table = values["table"] if self.table else None
        y = np.empty((len(rows), self.n), self.how.dtype)
        for expert, (begin, end) in enumerate(pairwise(values["offsets"])):
            weight = expanded(self.k, *(values.of(name, expert) for name in weight_of(self.k, self.n, self.coded)))
            bias, scale = (values.of(name, expert) for name in ("bias", "scale"))
            y[begin:end] = law.linear(rows[begin:end], weight, bias, *unpack_scale(scale), self.how, table)
        return (y,)


@dataclass(frozen=True)
class _Combining(Operator):
    """The sizes of a weighted sum of experts' results, in float or in integers."""

    tokens: int
    top_k: int
    dim: int
    residual: bool

    @property
    def macs(self) -> int:
        return self.tokens * self.top_k * self.dim

    def _signature(self, dtype: str, weights: str) -> Signature:
        pairs, y = (self.tokens, self.top_k), TensorType((self.tokens, self.dim), dtype)
        x = TensorType((self.tokens * self.top_k, self.dim), dtype)
        inputs = {"x": x, "weights": TensorType(pairs, weights), "slots": int32(*pairs)}
        return Signature(inputs | ({"residual": y} if self.residual else {}), {"y": y})


@dataclass(frozen=True)
class Combine(_Combining):
    """Y[t] = sum_j weights[t, j] X[slots[t, j]], plus R[t] where ``residual``; X [tokens top_k, dim]."""

    @property
    def signature(self) -> Signature:
        return self._signature("float32", "float32")

    def compute(self, values: Values) -> tuple[Array, ...]:
        y = (values["x"][values["slots"]] * values["weights"][:, :, None]).sum(1)
        return (y + values["residual"] if self.residual else y,)


@dataclass(frozen=True)
class QCombine(_Combining):
    """`law.combine`: expert outputs int16 [tokens top_k, dim], weights and slots int32 [tokens, top_k], and the
    residual int16 [tokens, dim] where there is one, to int16 [tokens, dim].
    """

    @property
    def signature(self) -> Signature:
        return self._signature("int16", "int32")

    def compute(self, values: Values) -> tuple[Array, ...]:
        residual = values["residual"] if self.residual else None
        return (law.combine(values["x"], values["weights"], values["slots"], residual),)
