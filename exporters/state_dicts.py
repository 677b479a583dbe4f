"""From what a training run saved to the parameters of a model: names, what is left out, and whether all fits."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from edgemtl.errors import CheckpointError

WRAPPERS = ("module.", "_orig_mod.")
"""What torch's data-parallel wrappers and its compiler put before names."""

NESTED = ("model", "state_dict")
MOST_NESTING = 8

TRAINING_ONLY = re.compile(r"tam_model\d+\..*|decoders\.\w+\.output_level_\d+\..*")
"""Parameters upstream uses in training only: task attention (`tam`) and heads of single levels (`multi_level`)."""

LISTED = 6
"""Names that a note spells out."""


class State(NamedTuple):
    """Values by the names of the model's parameters, and what was done to get there."""

    values: Mapping[str, object]
    notes: tuple[str, ...]


def find_state(path: Path, content: object) -> State:
    """The state dict inside a training checkpoint: under `model` or `state_dict`, or all of it."""
    entries: list[str] = []
    while isinstance(content, dict):
        nested = [key for key in NESTED if isinstance(content.get(key), dict)]
        if not nested:
            return _strip_wrappers(path, {str(name): value for name, value in content.items()}, entries)
        if len(nested) > 1:
            raise CheckpointError(f"{path} must hold one state dict, not one under each of {' and '.join(nested)}")
        entries.append(nested[0])
        if len(entries) > MOST_NESTING:
            raise CheckpointError(f"{path} must hold its state dict within {MOST_NESTING} dicts, not deeper")
        content = content[nested[0]]
    raise CheckpointError(f"{path} must hold a dict of tensors, not {type(content).__name__}")


def drop_training_only(state: State, names: Mapping[str, Tensor]) -> State:
    """Without the parameters that only training uses; one that the model has stays."""
    dropped = [name for name in state.values if TRAINING_ONLY.fullmatch(name) and name not in names]
    if not dropped:
        return state
    values = {name: value for name, value in state.values.items() if name not in dropped}
    return State(values, (*state.notes, f"left out {_listed(dropped)}: used in training only"))


def fit_state(path: Path, expected: Mapping[str, Tensor], state: State) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Parameters of a model as float32 of their own memory, and notes.

    expected: what the model has, on any device. Raises one `CheckpointError` that names every parameter with
    something wrong: missing, unexpected, misshapen, of a type or with values that cannot be used.
    """
    values = state.values
    common = [name for name in expected if name in values]
    faults = {
        "missing": [f"{name} {_shape(t)}" for name, t in expected.items() if name not in values],
        "unexpected": [name for name in values if name not in expected],
        "wrong": [f"{n} ({why})" for n in common if (why := _mismatch(n, expected[n], values[n]))],
    }
    if any(faults.values()):
        lines = [f"{kind} ({len(names)}): {', '.join(names)}" for kind, names in faults.items() if names]
        raise CheckpointError(f"{path} must hold exactly the parameters of its model; " + "; ".join(lines))
    fitted = {name: _fit(values[name], tensor.dtype) for name, tensor in expected.items()}
    return fitted, (*state.notes, *_conversions(values))


def _strip_wrappers(path: Path, values: dict[str, object], entries: list[str]) -> State:
    plain: dict[str, object] = {}
    twice = []
    for name, value in values.items():
        short = _plain_name(name)
        twice += [short] if short in plain else []
        plain[short] = value
    if twice:
        names = ", ".join(sorted(set(twice)))
        raise CheckpointError(f"{path} must hold each tensor once, not with and without {WRAPPERS[0]}: {names}")
    return State(plain, (f"weights are those under {'.'.join(entries)}",) if entries else ())


def _plain_name(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.removeprefix(WRAPPERS[0]).removeprefix(WRAPPERS[1])
    return name


def _conversions(values: Mapping[str, object]) -> Iterator[str]:
    """A note for every type of number that becomes float32."""
    floats = [v.dtype for v in values.values() if isinstance(v, Tensor) and v.is_floating_point()]
    for dtype in sorted({str(d) for d in floats if d != torch.float32}):
        yield f"{sum(str(d) == dtype for d in floats)} of {len(floats)} parameters were {dtype}, and become float32"


def _mismatch(name: str, expected: Tensor, value: object) -> str:
    """What is wrong with a value for a parameter; empty if nothing is."""
    if not isinstance(value, Tensor):
        return f"must be a tensor, not {type(value).__name__}"
    if value.layout != torch.strided or value.is_nested:
        return f"must be dense, not {'nested' if value.is_nested else value.layout}"
    if value.is_meta:
        return "must have values, and has a shape only"
    if value.shape != expected.shape:
        return f"must be {_shape(expected)}, not {_shape(value)}"
    if value.is_floating_point() != expected.is_floating_point() or value.is_complex() or value.is_quantized:
        return f"must be {expected.dtype}, not {value.dtype}"
    return _bad_values(name, _fit(value, expected.dtype))


def _bad_values(name: str, value: Tensor) -> str:
    if not bool(torch.isfinite(value).all()):
        return "must be finite, not NaN or infinite"
    return "must not be negative" if name.endswith("running_var") and bool((value < 0).any()) else ""


def _fit(value: object, dtype: torch.dtype) -> Tensor:
    """A copy of its own: tensors of a file may lie in one another's memory."""
    return cast(Tensor, value).detach().to(dtype, copy=True, memory_format=torch.contiguous_format)


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _listed(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
