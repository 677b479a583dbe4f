"""Weights in 4 bits as the file of parameters holds them: bytes in base64, by the key of the int8 weight."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from edgemtl.errors import ConfigError
from edgemtl.hw.law_weights4 import GROUP, MULTIPLIERS, CodedWeight
from edgemtl.options import WEIGHT_BITS
from edgemtl.records import Field, Rule, items, one_of, read
from edgemtl.records.rules import SHA256, TEXT
from edgemtl.records.types import Count

FORM = "weights in 4 bits: rows, columns, codes and multipliers, as many bytes as these take"


def _decode(field: Field) -> bytes:
    try:
        return base64.b64decode(field.value, validate=True)  # type: ignore[arg-type]  # TypeError is what others are
    except (TypeError, ValueError, binascii.Error):
        field.fail("bytes in base64")


@dataclass(frozen=True)
class CodedEntry:
    """A `CodedWeight` as the file describes it."""

    rows: Count
    columns: Count
    codes: Annotated[bytes, Rule("bytes in base64", _decode)]
    multipliers: Annotated[bytes, Rule("bytes in base64", _decode)]


def describe_coded(weight: CodedWeight) -> dict[str, Any]:
    """A weight as JSON values."""
    sides = {"codes": weight.codes, "multipliers": weight.multipliers}
    texts = {name: base64.b64encode(array.tobytes()).decode() for name, array in sides.items()}
    return {"rows": weight.rows, "columns": weight.codes.shape[1], **texts}


def _read_coded(field: Field) -> dict[str, CodedWeight]:
    return {
        SHA256.read(Field(each.document, key, each.dialect, each.path)): _weight(each)
        for key, each in field.entries().items()
    }


def _weight(field: Field) -> CodedWeight:
    entry = read(CodedEntry, field)
    shape, groups = (-(-entry.rows // 2), entry.columns), (-(-entry.rows // GROUP), entry.columns)
    multipliers = np.frombuffer(entry.multipliers, np.int8)
    if (
        len(entry.codes) != np.prod(shape)
        or multipliers.size != np.prod(groups)
        or (multipliers < MULTIPLIERS[0]).any()
    ):
        raise ConfigError(f"{field.place} must be {FORM}, not {len(entry.codes)} and {multipliers.size} bytes")
    codes = np.frombuffer(entry.codes, np.uint8).reshape(shape)
    return CodedWeight(entry.rows, codes, multipliers.reshape(groups))


def _read_rule(field: Field) -> tuple[str, int]:
    parts = list(field.items())
    if len(parts) != 2:
        field.fail("a layer and the bits of its weights")
    return TEXT.read(parts[0]), one_of(*WEIGHT_BITS).read(parts[1])


RULES = items(Rule("a layer and bits", _read_rule), 0, 1 << 16, "rules for the bits of weights")
CODED = Rule("weights in 4 bits by key", _read_coded)
