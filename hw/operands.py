"""What the table of the instruction set is made of: operands, and operations that have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

CODE_BITS: Final = 6
MASK_BITS: Final = 6
OPERAND_BIT: Final = CODE_BITS + 2 * MASK_BITS


@dataclass(frozen=True)
class Field:
    """An operand of ``bits`` bits; two's complement where ``signed``. ``allowed``: its only values, where not empty."""

    name: str
    bits: int
    what: str
    signed: bool = False
    allowed: tuple[int, ...] = ()

    @property
    def low(self) -> int:
        """The least value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest value."""
        return (1 << (self.bits - self.signed)) - 1


@dataclass(frozen=True)
class Operation:
    """A kind of instruction: its code, the unit that executes it and its operands from the lowest bit up."""

    name: str
    code: int
    unit: str
    what: str
    fields: tuple[Field, ...]

    @cached_property
    def places(self) -> Mapping[str, tuple[Field, int]]:
        """Every field with its lowest bit in the word."""
        bits, places = OPERAND_BIT, {}
        for field in self.fields:
            places[field.name] = (field, bits)
            bits += field.bits
        return MappingProxyType(places)

    @property
    def bits(self) -> int:
        """Bits of the word in use."""
        return OPERAND_BIT + sum(field.bits for field in self.fields)


REGIONS: Final = ("residual", "hidden", "input", "scores0", "scores1", "queries", "constants")
SCORES: Final = ("scores0", "scores1")


def place(name: str, what: str, *regions: str) -> tuple[Field, Field]:
    """An address: which of the ``regions`` that the operand may lie in, and a granule there."""
    numbers = tuple(REGIONS.index(region) for region in regions)
    return Field(f"{name}_region", 3, f"region of {what}", allowed=numbers), Field(name, 17, f"first granule of {what}")


def stride(name: str, what: str) -> Field:
    """The granules between the rows of an operand."""
    return Field(name, 12, f"granules from one {what} to the next")


ROWS: Final = Field("rows", 11, "rows")
SLOT: Final = Field("slot", 14, "0, or 1 + the index of an entry of the router's list")
SKIP: Final = Field("skip", 13, "entries of the expert's queue to skip")
MUL: Final = Field("mul", 17, "multiplier")
SHIFT: Final = Field("shift", 6, "shift")
BYTE: Final = (
    Field("zero", 8, "added to a byte", signed=True),
    Field("low", 8, "lower bound of a byte", signed=True),
)
