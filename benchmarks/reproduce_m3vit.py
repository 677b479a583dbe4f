"""The hardware table of the M3ViT paper (arXiv 2210.14793, Table 4) on this accelerator: ``make reproduce-m3vit``.

M3ViT-small for PASCAL-Context (512 x 512) and NYUD (480 x 640), k = 4, one task: the dense ViT, experts in token order
with the paper's own policy and with real caches, experts in order, and all experts on chip. Every figure of ours is
simulated, energy estimated; the paper's are published. docs/reproduction.md explains the differences.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.accelerator import FRAMES, TOKEN_ORDER_FRAMES, Simulated, compile_one, markdown, popular, simulated
from benchmarks.m3vit_models import Built, Choices, build, encoder_steps
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.codegen.fpga.weights import expert_lines
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.spec import AcceleratorSpec, check_spec, read_spec
from edgemtl.lowering.ir import Step

NYUD_BOARD = str(Path(__file__).parent / "boards/zcu104_nyud.toml")
INVENTED_URAM = 288
"""UltraRAM of a part that holds a weight memory for every expert of a layer."""
CACHES = (1, 2, 4, 8, 12, 16)
EARLY = 3
"""Experts of a layer that are fetched before its router has decided: what the ring holds beside one that computes."""
MEMORY_BYTES_PER_S = 12.8e9
DIM = 384
PAPER_EXPERT_BYTES = 2 * DIM * DIM + 2 * DIM
"""An expert of M3ViT-small with int8 weights and int8 biases."""


@dataclass(frozen=True)
class Published:
    """The paper's rows for one data set: tokens, and (ms, joules) of the dense ViT, of token order, and reordered.

    board: our engine for it.
    """

    name: str
    preset: str
    board: str
    tokens: int
    dense: tuple[float, float]
    cached: tuple[float, float]
    reordered: tuple[float, float]


PAPER = (
    Published("PASCAL", "m3vit_small_pascal_paper", "zcu104", 1025, (68.931, 0.689), (637.478, 6.375), (69.033, 0.690)),
    Published("NYUD", "m3vit_small_nyud_paper", NYUD_BOARD, 1201, (84.418, 0.844), (750.557, 7.506), (84.538, 0.845)),
)
PAPER_MEMORY_MIB = {"dense": 4.828, "token order": 4.840, "reordered": 4.840, "all experts on chip": 11.610}


@dataclass(frozen=True)
class Result:
    """One way of running: milliseconds of the encoder and with head, joules (low, typical, high) of the encoder."""

    data: str
    way: str
    board: str
    encoder_ms: float
    head_ms: float
    joules: tuple[float, float, float]
    on_chip_mib: float
    paper: tuple[float, float] | None
    paper_mib: float | None


Compiler = Callable[[Sequence[Step]], Simulated]


def with_experts(spec: AcceleratorSpec, experts: int) -> AcceleratorSpec:
    """The same board with so many experts beside the weight ring, on a part that was never made."""
    expert_bytes = experts * LINE_BYTES * expert_lines(spec.engine, DIM, DIM, DIM, (True, False))
    engine = replace(spec.engine, weight_ring_bytes=spec.engine.weight_ring_bytes + expert_bytes)
    board = replace(spec.board, part=replace(spec.board.part, uram288=INVENTED_URAM))
    enlarged = AcceleratorSpec(
        f"{spec.name} with room for {experts} experts, hypothetical", board, engine, hypothetical=True
    )
    check_spec(enlarged)
    return enlarged


def ways(
    board: AcceleratorSpec, built: Built, dense: Built, routes: Sequence[Choices]
) -> Iterator[tuple[str, str, Built, Compiler, bool]]:
    """(way, key of the paper's row, model, how it is simulated, whether the head is worth simulating again)."""

    def run(spec: AcceleratorSpec, order: ExpertOrder, early: int, used: Sequence[Choices]) -> Compiler:
        lists = popular(used, 16, early) if early else []
        frames = TOKEN_ORDER_FRAMES if order.by_token else FRAMES
        return lambda steps: simulated(compile_one(steps, spec, lists, order), spec, used, frames)

    yield "dense ViT-S", "dense", dense, run(board, ExpertOrder(), 0, ()), True
    yield "expert order", "reordered", built, run(board, ExpertOrder(), EARLY, routes), True
    reload = ExpertOrder(by_token=True)
    yield "token order, one buffer, reloaded at every visit", "token order", built, run(board, reload, 0, routes), False
    for places in CACHES:
        order = ExpertOrder(by_token=True, cache=places)
        yield f"token order, cache of {places}", "", built, run(with_experts(board, places), order, 0, routes), False
    resident = run(with_experts(board, 16), ExpertOrder(resident=True), 0, routes)
    yield "expert order, all experts on chip", "all experts on chip", built, resident, False


def results(paper: Published, folder: Path) -> Iterator[Result]:
    """Every way for one data set, on the routes of the model's own gates."""
    built, dense = build(paper.preset, "semseg", folder), build(paper.preset, "semseg", folder, dense=True)
    rows = {"dense": paper.dense, "token order": paper.cached, "reordered": paper.reordered}
    head_only = None
    for way, key, model, run, whole in ways(read_spec(paper.board), built, dense, built.routes):
        print(f"{paper.name}: {way}", file=sys.stderr, flush=True)
        encoder = run(encoder_steps(model.steps))
        if whole:
            with_head = run(model.steps).ms
            head_only = with_head - encoder.ms
        else:
            # The head is the same work whatever the encoder did before it.
            assert head_only is not None
            with_head = encoder.ms + head_only
        memory_mib, published = encoder.on_chip_bytes / 2**20, (rows.get(key), PAPER_MEMORY_MIB.get(key))
        yield Result(paper.name, way, encoder.spec.name, encoder.ms, with_head, encoder.joules, memory_mib, *published)


def identity(paper: Published) -> str:
    """The paper's extra time of token order, as loads of an expert at every visit."""
    loads = paper.tokens * 4 * 6 + 8
    ms = loads * PAPER_EXPERT_BYTES / MEMORY_BYTES_PER_S * 1e3
    extra = paper.cached[0] - paper.reordered[0]
    product = f"({paper.tokens} x 4 x 6 + 8) x {PAPER_EXPERT_BYTES:,} B / 12.8 GB/s"
    return f"{paper.name}: {product} = {ms:.3f} ms; paper {extra:.3f} ms"


def print_tables(all_rows: Sequence[Result]) -> None:
    """Markdown, one table a data set, and the ratios."""
    header = ("way", "board", "encoder ms", "with head ms", "encoder J", "on chip MiB", "paper ms / J", "paper MiB")
    for paper in PAPER:
        rows = [row for row in all_rows if row.data == paper.name]
        print(markdown(f"M3ViT-small, {paper.name}, simulated", header, [_cells(row) for row in rows]))
        print(_ratios(rows) + "\n")
    print("\n".join(identity(paper) for paper in PAPER))


def _cells(row: Result) -> list[str]:
    low, typical, high = row.joules
    paper = "-" if row.paper is None else f"{row.paper[0]:.3f} / {row.paper[1]:.3f}"
    energy = f"{typical:.2g} ({low:.2g}..{high:.2g})"
    ours = [row.way, row.board, f"{row.encoder_ms:.2f}", f"{row.head_ms:.2f}", energy, f"{row.on_chip_mib:.2f}"]
    return [*ours, paper, "-" if row.paper_mib is None else f"{row.paper_mib:.3f}"]


def _ratios(rows: Sequence[Result]) -> str:
    by_way = {row.way: row for row in rows}
    dense, reordered = by_way["dense ViT-S"], by_way["expert order"]
    reload = by_way["token order, one buffer, reloaded at every visit"]
    resident = by_way["expert order, all experts on chip"]
    return "\n".join(
        (
            "- on-chip memory, all experts on chip / expert order: "
            f"{resident.on_chip_mib / reordered.on_chip_mib:.2f}x (paper 2.40x)",
            f"- energy, token order / expert order: {reload.joules[1] / reordered.joules[1]:.2f}x (paper 9.23x)",
            f"- latency, token order - expert order: {reload.encoder_ms - reordered.encoder_ms:.1f} ms",
            f"- latency, expert order / dense - 1: {reordered.encoder_ms / dense.encoder_ms - 1:+.2%} (paper +0.15%)",
        )
    )


def main() -> None:
    """Print the tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/m3vit"))
    parser.add_argument("--data", choices=[paper.name for paper in PAPER], action="append")
    args = parser.parse_args()
    chosen = [paper for paper in PAPER if not args.data or paper.name in args.data]
    all_rows = [row for paper in chosen for row in results(paper, args.work)]
    print_tables(all_rows)
    (args.work / "reproduction.json").write_text(json.dumps([asdict(row) for row in all_rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
