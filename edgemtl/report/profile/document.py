"""A profile as JSON values. The instructions, of which there are thousands, become one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

from edgemtl.report.profile.model import Profile
from edgemtl.report.profile.parts import InstructionSpan

TABLES: Final = (InstructionSpan,)
"""Written as {"columns": names, "rows": values} where they stand in a sequence."""


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """The document that docs/profile.md describes."""
    document: dict[str, Any] = _write(profile)
    return document


def _write(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _write(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _write(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        if value and isinstance(value[0], TABLES):
            return _table(value)
        return [_write(item) for item in value]
    return value


def _table(rows: Sequence[Any]) -> dict[str, Any]:
    names = [field.name for field in fields(rows[0])]
    return {"columns": names, "rows": [[_write(getattr(row, name)) for name in names] for row in rows]}
