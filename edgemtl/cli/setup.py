"""Verbs about the tool and its targets: targets list, targets show, doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from edgemtl.cli.command import add_group, add_verb
from edgemtl.cli.console import emit, table
from edgemtl.cli.early import check_target
from edgemtl.cli.flags import Json
from edgemtl.hw.datasheet import describe_clocks, describe_spec
from edgemtl.hw.resources import count
from edgemtl.hw.spec import BOARDS, is_board, read_spec
from edgemtl.processor import TARGETS, resolve

if TYPE_CHECKING:
    from rich.console import Console

    from edgemtl.doctor import Finding
    from edgemtl.hw.datasheet import Datasheet
    from edgemtl.hw.spec import AcceleratorSpec
    from edgemtl.processor import CpuTarget


def list_targets(json: Json = False) -> None:
    """List the processors and boards that can be compiled for."""
    targets, boards = tuple(TARGETS.values()), tuple(read_spec(name) for name in BOARDS)
    emit(
        {"targets": [_target_entry(t) for t in targets], "boards": [_board_entry(b) for b in boards]},
        json,
        lambda console: _print_list(console, targets, boards),
    )


def _target_entry(target: CpuTarget) -> dict[str, object]:
    return {name: value for name, value in asdict(target).items() if name != "flags"}


def _board_entry(spec: AcceleratorSpec) -> dict[str, object]:
    engine = spec.engine
    return {
        "name": spec.name,
        "part": spec.board.part.name,
        "array": [engine.array_rows, engine.array_columns],
        "clock_mhz": engine.clock_mhz,
        "dsp_clock_mhz": engine.clock_mhz * engine.dsp_clock_ratio,
        "hypothetical": spec.hypothetical,
        "compiles": True,
    }


def _print_list(console: Console, targets: tuple[CpuTarget, ...], boards: tuple[AcceleratorSpec, ...]) -> None:
    rows = [(t.name, t.mcpu, t.vector_bits) for t in targets]
    console.print(table("", ("target", "processor", "vector bits"), rows))
    sizes = [(b.name, b.board.part.name, f"{b.engine.array_rows}x{b.engine.array_columns}") for b in boards]
    clocks = [(describe_clocks(b.engine), "compiles, runs in simulation") for b in boards]
    console.print()
    entries = [size + clock for size, clock in zip(sizes, clocks, strict=True)]
    console.print(table("", ("board", "part", "array", "target clock", "state"), entries))


def show_target(
    name: Annotated[str, typer.Argument(help="Target, board, or the path of a board's TOML file.", metavar="NAME")],
    json: Json = False,
) -> None:
    """Show a processor's parameters, or a board with its engine and the resources that it needs."""
    check_target(name, "NAME")
    if is_board(name):
        sheet = describe_spec(read_spec(name))
        emit({"board": sheet.to_json()}, json, lambda console: _print_sheet(console, sheet))
    else:
        fields = _target_entry(resolve(name))
        emit({"target": fields}, json, lambda c: c.print(table(name, ("parameter", "value"), list(fields.items()))))


def _print_sheet(console: Console, sheet: Datasheet) -> None:
    if sheet.hypothetical:
        console.print("HYPOTHETICAL BOARD: it was never made; nothing about it was published or measured.\n")
    figures = [
        (f.name, f"{f.value:,}" if isinstance(f.value, int | float) else f.value, f.basis) for f in sheet.figures
    ]
    console.print(table(f"{sheet.name}: {sheet.title}", ("figure", "value", "basis"), figures))
    has = {total.resource: total.has for total in sheet.totals}
    rows = [
        (r.unit, r.resource, count(r.amount), _share(r.amount, has[r.resource]), r.basis, r.formula) for r in sheet.rows
    ]
    console.print(table("\nResources by unit", ("unit", "resource", "amount", "share", "basis", "formula"), rows))
    sums = [(t.resource, count(t.needs), f"{t.has:,}", _share(t.needs, t.has)) for t in sheet.totals]
    console.print(table("\nTotals", ("resource", "used", "available", "share"), sums))
    console.print("\nNothing was placed or routed: the clock is a target, and estimated rows are not from a synthesis.")


def _share(needs: float, has: int) -> str:
    return f"{needs / has:.1%}" if has else "-"


def doctor(json: Json = False) -> int:
    """Check what the compiler and the runtime need, and say how to install what is missing."""
    from rich.markup import escape

    from edgemtl.doctor import examine

    findings = examine()
    rows = [(f.what, _state(f), escape(f.detail), f.needed_for) for f in findings]
    emit(
        {"healthy": all(f.present or f.optional for f in findings), "findings": [asdict(f) for f in findings]},
        json,
        lambda c: c.print(table("", ("what", "state", "detail", "needed for"), rows)),
    )
    return 0 if all(f.present or f.optional for f in findings) else 1


def _state(finding: Finding) -> str:
    if finding.present:
        return "ok"
    return "not installed" if finding.optional else "MISSING"


def register(app: typer.Typer) -> None:
    """Add this module's verbs to ``app``."""
    targets = add_group(app, "targets", "List and show the processors and boards to compile for.")
    add_verb(targets, "list", list_targets, "targets list")
    add_verb(targets, "show", show_target, "targets show")
    add_verb(app, "doctor", doctor)
