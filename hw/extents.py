"""The last granule or byte that every operand of an instruction reaches, whatever the router decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from edgemtl.hw.geometry import TABLE_BYTES, enlarged_from, rows_read
from edgemtl.hw.isa import LINE_BYTES, WINDOWS, Instruction

Extents = Iterator[tuple[str, int]]
"""Operands with their last granule."""
MASK_BYTES: Final = 32
"""Of a ROUTE's candidates, a bit for each of 256."""


def extents(instruction: Instruction, granule: int, tokens: int) -> dict[str, int]:
    """The last granule of each address of an instruction that accesses regions, by operand.

    tokens: those that the router has queued, of which `gather` and COMBINE may reach any.
    """
    reaches = REACHES.get(instruction.name)
    return dict(reaches(instruction, granule, tokens)) if reaches else {}


def window_end(instruction: Instruction, granule: int, experts: int) -> tuple[str, int] | None:
    """The window of DRAM that an instruction accesses and the byte behind its last; None where it accesses none.

    experts: those of which a STREAM with a slot may read any.
    """
    if instruction.name == "STREAM":
        last = (experts - 1) * instruction["stride"] if instruction["slot"] else 0
        return "parameters", (instruction["address"] + last + instruction["lines"]) * LINE_BYTES
    if instruction.name not in ("LOAD", "STORE"):
        return None
    line = instruction["address"] + (instruction["rows"] - 1) * instruction["step"]
    return WINDOWS[instruction["window"]], line * LINE_BYTES + instruction["size"] * granule


def _span(size: int, granule: int) -> int:
    return -(-size // granule)


def _last(first: int, rows: int, stride: int, size: int) -> int:
    return first + (rows - 1) * stride + size - 1


def _linear(i: Instruction, granule: int, tokens: int) -> Extents:
    rows, wide = tokens if i["gather"] else i["rows"], 1 + i["wide"]
    yield "src", _last(i["src"], rows, i["src_stride"], _span(i["k"], granule))
    across = (_span(i["n"], granule) - 1) * i["dst_tile"] + wide
    yield "dst", _last(i["dst"], i["rows"], i["dst_stride"], across)
    if i["residual"]:
        yield "add", _last(i["add"], i["rows"], i["dst_stride"], across)


def _farthest(lines: Iterable[int], wrap: int) -> int:
    return max((line % max(wrap, 1) for line in lines), default=0)


def _conv(i: Instruction, granule: int, _tokens: int) -> Extents:
    pixels = (_farthest(rows_read(i), i["wrap"]) + 1) * i["width"]
    yield "src", _last(i["src"], pixels, i["src_stride"], _span(i["k"], granule))
    size = _span(i["n"], granule) * (1 + i["wide"])
    yield "dst", _last(i["dst"], i["rows"] * i["out_width"], i["dst_stride"], size)


def _enlarge(i: Instruction, _granule: int, _tokens: int) -> Extents:
    written, across = range(i["first"], i["first"] + i["rows"]), i["factor"] * i["width"]
    yield "src", _image(i, enlarged_from(i["first"], i["rows"], i["height"], i["factor"], bool(i["nearest"])))
    yield "dst", _last(i["dst"], (_farthest(written, i["dst_wrap"]) + 1) * across, i["stride"], i["stride"])


def _image(i: Instruction, lines: range) -> int:
    """The last granule of rows of an image in a ring."""
    return _last(i["src"], (_farthest(lines, i["src_wrap"]) + 1) * i["width"], i["stride"], i["stride"])


def _classes(i: Instruction, granule: int, _tokens: int) -> Extents:
    rows = range(i["first"], i["first"] + i["rows"])
    yield "src", _image(i, enlarged_from(i["first"], i["rows"], i["height"], 2, False) if i["enlarge"] else rows)
    size = _span(i["width"] * (1 + i["enlarge"]), granule)
    yield "dst", _last(i["dst"], i["rows"], i["dst_stride"], size)


def _add(i: Instruction, _granule: int, _tokens: int) -> Extents:
    for name, wide in (("a", "a_wide"), ("b", "b_wide"), ("dst", "wide")):
        yield name, i[name] + i["size"] * (1 + i[wide]) - 1


def _map(i: Instruction, granule: int, _tokens: int) -> Extents:
    for name in ("src", "dst"):
        yield name, i[name] + i["size"] - 1
    yield "from", i["from"] + _span(TABLE_BYTES, granule) - 1


def _rescale(i: Instruction, _granule: int, _tokens: int) -> Extents:
    for name, wide in (("src", "src_wide"), ("dst", "wide")):
        yield name, _last(i[name], i["rows"], i[f"{name}_stride"], i["size"] * (1 + i[wide]))


def _mean(i: Instruction, granule: int, _tokens: int) -> Extents:
    yield "src", _last(i["src"], i["rows"], i["stride"], _span(i["width"], granule))
    if i["end"]:
        yield "dst", i["dst"] + _span(i["width"], granule) * (1 + i["wide"]) - 1


def _scores(i: Instruction, granule: int, _tokens: int) -> Extents:
    yield "src", _last(i["src"], i["rows"], i["src_stride"], _span(i["k"], granule))
    yield "keys", _last(i["keys"], i["count"], i["keys_stride"], _span(i["k"], granule))
    yield "dst", _last(i["dst"], i["rows"] * i["heads"], i["dst_stride"], _span(2 * i["count"], granule))


def _softmax(i: Instruction, granule: int, _tokens: int) -> Extents:
    yield "src", _last(i["src"], i["rows"], i["stride"], _span(2 * i["count"], granule))


def _mix(i: Instruction, granule: int, _tokens: int) -> Extents:
    yield "src", _last(i["src"], i["rows"], i["src_stride"], _span(i["count"], granule))
    across = (_span(i["n"], granule) - 1) * i["values_tile"] + 1
    yield "values", _last(i["values"], i["count"], i["values_stride"], across)
    yield "dst", _last(i["dst"], i["rows"], i["dst_stride"], _span(i["n"], granule))


def _norm(i: Instruction, granule: int, _tokens: int) -> Extents:
    yield "src", _last(i["src"], i["rows"], i["src_stride"], _span(2 * i["width"], granule))
    yield "dst", _last(i["dst"], i["rows"], i["dst_stride"], _span(i["width"], granule))
    if i["parameters"]:
        yield "from", i["from"] + 2 * _span(i["width"], granule) - 1


def _sums(i: Instruction, granule: int, _tokens: int) -> Extents:
    for name in ("high", "low"):
        yield name, _last(i[name], i["rows"], i["stride"], _span(2 * i["width"], granule))


def _combine(i: Instruction, granule: int, tokens: int) -> Extents:
    size = _span(2 * i["width"], granule)
    yield "src", _last(i["src"], i["rows"], i["src_stride"], size)
    for name in ("high", "low"):
        yield name, _last(i[name], tokens, i["stride"], size)


def _route(i: Instruction, granule: int, _tokens: int) -> Extents:
    yield "src", _last(i["src"], i["rows"], i["src_stride"], _span(2 * i["experts"], granule))
    yield "from", i["from"] + _span(MASK_BYTES + i["early"], granule) - 1


def _load(i: Instruction, _granule: int, _tokens: int) -> Extents:
    yield "dst", _last(i["dst"], i["rows"], i["stride"], i["size"])


def _store(i: Instruction, _granule: int, _tokens: int) -> Extents:
    yield "src", _last(i["src"], i["rows"], i["stride"], i["size"])


REACHES: Final[Mapping[str, Callable[[Instruction, int, int], Extents]]] = MappingProxyType(
    {
        "LOAD": _load,
        "STORE": _store,
        "LINEAR": _linear,
        "CONV": _conv,
        "SCORES": _scores,
        "MIX": _mix,
        "SOFTMAX": _softmax,
        "NORM": _norm,
        "OPEN": _sums,
        "COMBINE": _combine,
        "SETTLE": _sums,
        "ENLARGE": _enlarge,
        "ADD": _add,
        "MAP": _map,
        "MEAN": _mean,
        "CLASSES": _classes,
        "RESCALE": _rescale,
        "ROUTE": _route,
    }
)
