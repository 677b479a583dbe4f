"""A kernel: one private function over pointers, and what each pointer means."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edgemtl.operators import Operator, Signature

Role = Literal["input", "output", "weight", "weights_space", "weights_words", "workspace"]


@dataclass(frozen=True)
class Operand:
    """One pointer of a kernel; all are 64-byte aligned.

    "weights_space" is the whole weights section as an array of float32 or int32, for kernels that find their weights
    by a table of element offsets (experts); its shape is (0,). "weights_words" is no pointer but a number: how many
    elements of four bytes that section has.

    bounds: of a weight by whose integers the kernel finds memory, the least and the largest that lie inside. The kernel
    clamps to them; a bundle's reader refuses others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    bounds: tuple[int, int] | None = None

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Kernel:
    """A compiled-to-be function: its symbol, its operands in order and its body.

    ``function`` is a private TVM PrimFunc (pointers) -> int32 that always returns 0.
    """

    symbol: str
    operands: tuple[Operand, ...]
    function: Any = field(compare=False, repr=False)


@dataclass(frozen=True)
class FixedKernel(Operator):
    """An operator that comes with its kernel: a generic one, or the place of work that is done elsewhere.

    types: its operands, numbered as the kernel takes them. work: multiply-accumulates.
    """

    delivers = False

    kernel: Kernel
    types: Signature = field(compare=False, repr=False)
    work: int = 0

    @property
    def signature(self) -> Signature:
        return self.types

    @property
    def macs(self) -> int:
        return self.work
