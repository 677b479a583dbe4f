"""The steps of a host CPU from JSON."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edgemtl.bundle.fields import Field
from edgemtl.bundle.values import MAX_BYTES, MAX_COUNT, read_integers, read_shape
from edgemtl.host import BUFFER_DTYPES, NATIVE, OPERATORS, SEGMENT, HostStep, HostView

MOST = 1 << 62
MOST_NUMBER = 1e300


def read_host_step(field: Field) -> HostStep:
    """One step; a segment has no sizes of its own, and any other operator no number of a segment."""
    operator, sizes, segment, inputs, outputs, constants = field.members(
        "operator", "sizes", "segment", "inputs", "outputs", "constants"
    )
    name = operator.choice(SEGMENT, NATIVE, *OPERATORS)
    if (name in OPERATORS) != (sizes.value is not None) or (name == SEGMENT) != (segment.value is not None):
        operator.fail(f"{SEGMENT} with the number of one, {NATIVE}, or another operator with its sizes")
    return HostStep(
        name,
        _read_dataclass(sizes, OPERATORS[name]) if name in OPERATORS else None,
        segment.integer(0, MAX_COUNT) if name == SEGMENT else None,
        tuple(_view(item) for item in inputs.items()),
        tuple(_view(item) for item in outputs.items()),
        read_integers(constants, MAX_COUNT),
    )


def _view(field: Field) -> HostView:
    buffer, shape, strides, offset, dtype = field.members("buffer", "shape", "strides", "offset", "dtype")
    sizes = read_shape(shape, rank=0)
    steps = read_integers(strides, MAX_BYTES)
    if len(steps) != len(sizes):
        strides.fail(f"{len(sizes)} steps, one a dimension")
    return HostView(buffer.text(), sizes, steps, offset.integer(0, MAX_BYTES), dtype.choice(*BUFFER_DTYPES))


def _read_dataclass(field: Field, kind: type) -> Any:
    names = [item.name for item in fields(kind)]
    hints = get_type_hints(kind)
    values = field.members(*names)
    return kind(**{name: _value(value, hints[name]) for name, value in zip(names, values, strict=True)})


def _value(field: Field, hint: Any) -> Any:
    if is_dataclass(hint):
        return _read_dataclass(field, hint)  # type: ignore[arg-type]  # an instance is none that a hint can be
    if get_origin(hint) is Literal:
        return field.choice(*get_args(hint))
    if get_origin(hint) is tuple:
        return _tuple(field, get_args(hint))
    if hint is bool:
        if not isinstance(field.value, bool):
            field.fail("true or false")
        return field.value
    if hint is int:
        return field.integer(-MOST, MOST)
    return field.number(-MOST_NUMBER, MOST_NUMBER) if hint is float else field.text()


def _tuple(field: Field, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    items = list(field.items())
    if hints[-1] is not Ellipsis and len(items) != len(hints):
        field.fail(f"{len(hints)} values")
    return tuple(_value(item, hints[0]) for item in items)
