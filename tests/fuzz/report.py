"""Counts of outcomes, as a line and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.judge import Outcome, Surface


@dataclass(frozen=True)
class Counts:
    """What a surface's inputs led to. faults: by kind and place, how often, and the first of them."""

    inputs: int
    kinds: Mapping[str, int]
    refusals: Mapping[str, int]
    faults: Mapping[str, tuple[int, Outcome]]
    seconds: tuple[float, ...]
    most_mib: int

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} {kind}" for kind, number in self.kinds.items())
        median, longest = self.seconds[len(self.seconds) // 2], self.seconds[-1]
        return (
            f"{self.inputs} inputs: {kinds}; median {median * 1e3:.1f} ms, longest {longest:.2f} s, {self.most_mib} MiB"
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        faults = {f"{fault}, first seed {o.seed}: {o.text}": number for fault, (number, o) in self.faults.items()}
        return {"inputs": self.inputs, "kinds": self.kinds, "refusals": self.refusals, "faults": faults}

    def faulty(self, *kinds: str) -> int:
        """How many inputs were at fault in one of these ways."""
        return sum(number for fault, (number, _) in self.faults.items() if fault.startswith(kinds))


def count(surface: Surface, outcomes: Iterable[Outcome]) -> Counts:
    """Count; at least one outcome is needed."""
    seen = [*outcomes]
    faults: dict[str, tuple[int, Outcome]] = {}
    for outcome in seen:
        if fault := outcome.fault(surface):
            place = outcome.text.partition(" @ ")[2].split(" < ")[0]
            key = f"{fault} at {place}" if place else fault
            number, first = faults.get(key, (0, outcome))
            faults[key] = number + 1, first
    refusals = Counter(o.text.partition(":")[0] for o in seen if o.kind == "refused")
    kinds = Counter(o.kind for o in seen)
    times = tuple(sorted(o.seconds for o in seen))
    return Counts(len(seen), dict(kinds), dict(refusals), faults, times, max(o.mib for o in seen))


INTRODUCTION = """# Hostile inputs

Everything that reads data from outside is a *surface*. `make fuzz` gives each surface inputs drawn from seeds, each in
a child process with limits, counts what happens, and writes this page.

An input may be accepted, or refused by a typed error (`edgemtl/errors.py`). Anything else is a fault: another
exception, a crash, no end within 30 s, more than 1 s of processor time, or more than 512 MiB of memory. If a surface
may take more, the last column says how much and why. `make test` runs some inputs of every surface;
`python -m tests.fuzz SURFACE --first SEED --inputs 1` repeats one.

"""
COLUMNS = (
    *("surface", "inputs", "accepted", "refused", "untyped", "crash or hang", "too long", "too large"),
    *("median", "longest", "most memory", "other limits"),
)


def write_table(path: Path, counts: Mapping[str, Counts], surfaces: Mapping[str, Surface]) -> None:
    """The page of docs/."""
    head = f"{_line(COLUMNS)}|{'---|' * len(COLUMNS)}\n"
    path.write_text(INTRODUCTION + head + "".join(_row(surfaces[name], c) for name, c in counts.items()))


def _row(surface: Surface, counts: Counts) -> str:
    limits = [f"{surface.seconds:g} s"] * (surface.seconds > 1) + [f"{surface.mib} MiB"] * (surface.mib > 512)
    cells = (
        *(surface.name, f"{counts.inputs:,}", counts.kinds.get("taken", 0), counts.kinds.get("refused", 0)),
        *(counts.faulty("untyped"), counts.faulty("crash", "hang")),
        *(counts.faulty(f"more than {surface.seconds:g} s"), counts.faulty(f"more than {surface.mib} MiB")),
        *(f"{counts.seconds[len(counts.seconds) // 2] * 1e3:.1f} ms", f"{counts.seconds[-1]:.2f} s"),
        *(f"{counts.most_mib} MiB", f"{', '.join(limits)}: {surface.stated}" if surface.stated else ""),
    )
    return _line(cells)


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"
