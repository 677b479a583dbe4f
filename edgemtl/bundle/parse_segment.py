"""One segment of an FPGA's program from JSON."""

from __future__ import annotations

from edgemtl.bundle.fields import Field
from edgemtl.bundle.segment import ROW_DTYPES, ChipBuffer, Region, Routing, Rows, Segment, SegmentLayer, Windows
from edgemtl.bundle.values import MAX_BYTES, MAX_COUNT, MAX_MACS, read_integers, read_texts
from edgemtl.hw.isa import REGIONS


def read_segment(field: Field, path: str) -> Segment:
    """The segment whose members are ``path`` with an ending each."""
    stream, index, layers, inputs, outputs, windows, early, routing, regions = field.members(
        "stream", "layer_index", "layers", "inputs", "outputs", "windows", "early", "routing", "regions"
    )
    return Segment(
        stream.choice(f"{path}.stream"),
        index.choice(f"{path}.layers"),
        tuple(_layer(item) for item in layers.items()),
        tuple(_rows(item) for item in inputs.items()),
        tuple(_rows(item) for item in outputs.items()),
        Windows(*(item.integer(0, MAX_BYTES) for item in windows.members("input", "output", "scratch"))),
        tuple(read_integers(item, MAX_COUNT) for item in early.items()),
        tuple(_routing(item) for item in routing.items()),
        tuple(_region(item) for item in regions.items()),
    )


def _layer(field: Field) -> SegmentLayer:
    name, origin, macs = field.members("name", "origin", "macs")
    return SegmentLayer(name.text(), read_texts(origin), macs.integer(0, MAX_MACS))


def _rows(field: Field) -> Rows:
    buffer, line, rows, width, dtype, pitch = field.members("buffer", "line", "rows", "width", "dtype", "pitch")
    return Rows(
        buffer.text(),
        line.integer(0, MAX_BYTES),
        rows.integer(1, MAX_COUNT),
        width.integer(1, MAX_COUNT),
        dtype.choice(*ROW_DTYPES),
        pitch.integer(1, MAX_BYTES),
    )


def _routing(field: Field) -> Routing:
    tokens, top_k, experts = field.members("tokens", "top_k", "experts")
    return Routing(*(item.integer(1, MAX_COUNT) for item in (tokens, top_k, experts)))


def _region(field: Field) -> Region:
    name, arena, bound, buffers = field.members("name", "arena_bytes", "lower_bound_bytes", "buffers")
    return Region(
        name.choice(*REGIONS),
        arena.integer(0, MAX_BYTES),
        bound.integer(0, MAX_BYTES),
        tuple(_buffer(item) for item in buffers.items()),
    )


def _buffer(field: Field) -> ChipBuffer:
    name, offset, size, first, last = field.members("name", "offset", "bytes", "first", "last")
    return ChipBuffer(
        name.text(),
        offset.integer(0, MAX_BYTES),
        size.integer(0, MAX_BYTES),
        first.integer(0, MAX_COUNT),
        last.integer(0, MAX_COUNT),
    )
