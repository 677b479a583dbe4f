"""A profile as JSON values and back. Rows of which there are thousands, the instructions, become one table."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from edgemtl.errors import InputError
from edgemtl.report.profile.model import SCHEMA_VERSION, Profile
from edgemtl.report.profile.parts import InstructionSpan

TABLES: Final = (InstructionSpan,)
"""Written as {"columns": names, "rows": values} where they stand in a sequence."""


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """The document that docs/profile.md describes."""
    found: dict[str, Any] = _write(profile)
    return found


def profile_from_json(document: Any) -> Profile:
    """The profile of a document. Raises InputError for one that is not of this version or not what it says."""
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"a profile must have schema_version {SCHEMA_VERSION}, not {version!r}; write it again")
    try:
        made: Profile = _read(Profile, document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"a profile must have the fields of docs/profile.md; {error!r}") from error
    return made


def _write(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _write(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _write(held) for key, held in value.items()}
    if isinstance(value, tuple | list):
        if value and isinstance(value[0], TABLES):
            return _table(value)
        return [_write(held) for held in value]
    return value


def _table(rows: Sequence[Any]) -> dict[str, Any]:
    names = [field.name for field in fields(rows[0])]
    return {"columns": names, "rows": [[_write(getattr(row, name)) for name in names] for row in rows]}


def _read(kind: Any, value: Any) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _read(inside[0], value)
    if origin in (types.UnionType, Union):
        return None if value is None else _read(next(part for part in inside if part is not type(None)), value)
    if origin is tuple:
        return _read_tuple(inside, value)
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return kind(**{field.name: _read(hints[field.name], value[field.name]) for field in fields(kind)})  # type: ignore[operator]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _read(inside[1], held) for key, held in value.items()}
    return _plain(kind, value)


def _read_tuple(inside: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if inside[-1] is not Ellipsis:
        return tuple(_read(part, held) for part, held in zip(inside, value, strict=True))
    if isinstance(value, dict):
        value = [dict(zip(value["columns"], row, strict=True)) for row in value["rows"]]
    if not isinstance(value, list):
        raise TypeError(f"{value!r} must be a list")
    return tuple(_read(inside[0], held) for held in value)


def _plain(kind: Any, value: Any) -> Any:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{value!r} must be one of {', '.join(map(str, get_args(kind)))}")
        return value
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} must be of type {kind.__name__}")
    return value
