"""The table of what instructions cost: work, multiply-accumulates, bytes on chip, by the instruction's name.

It names every instruction that a unit executes, and nothing is charged as another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgemtl.hw.geometry import depth_of
from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.cycle import moved, work
from edgemtl.hw.sim.cycle.instructions import Moved, Tiled, Timed, Work
from edgemtl.hw.sim.cycle.moved import Bytes
from edgemtl.hw.sim.cycle.work import Place
from edgemtl.hw.spec import Engine


@dataclass(frozen=True)
class Cost:
    """What one instruction costs.

    work: what its unit does. on_chip: bytes by memory, read and written together. products: multiply-accumulates of
    each row, without padding, including those of a convolution's border.
    """

    work: Callable[[Instruction, Engine, Place], Work]
    on_chip: Callable[[Instruction, Any, Engine], Bytes]
    products: Callable[[Instruction], int] | None = None


COSTS: Mapping[str, Cost] = {
    "STREAM": Cost(work.stream, moved.stream),
    "LOAD": Cost(work.load, moved.load),
    "STORE": Cost(work.store, moved.store),
    "LINEAR": Cost(work.linear, moved.linear, lambda instruction: depth_of(instruction) * instruction["n"]),
    "CONV": Cost(work.conv, moved.conv, lambda instruction: depth_of(instruction) * instruction["n"]),
    "SCORES": Cost(work.scores, moved.scores, lambda instruction: instruction["count"] * instruction["k"]),
    "MIX": Cost(work.mix, moved.mix, lambda instruction: instruction["count"] * instruction["n"]),
    "SOFTMAX": Cost(work.softmax, moved.softmax),
    "NORM": Cost(work.norm, moved.norm),
    "OPEN": Cost(work.sums, moved.sums),
    "COMBINE": Cost(work.combine, moved.combine),
    "SETTLE": Cost(work.sums, moved.sums),
    "ENLARGE": Cost(work.enlarge, moved.enlarge),
    "ADD": Cost(work.add, moved.add),
    "MAP": Cost(work.look_up, moved.look_up),
    "MEAN": Cost(work.mean, moved.mean),
    "CLASSES": Cost(work.classes, moved.classes),
    "RESCALE": Cost(work.rescale, moved.rescale),
    "ROUTE": Cost(work.route, moved.route),
}


def macs_of(instruction: Instruction, work: Work) -> int:
    """Multiply-accumulates that count."""
    products = COSTS[instruction.name].products
    return work.rows * products(instruction) if products and isinstance(work, Tiled) and work.tiles.loads else 0


def on_chip_of(instruction: Instruction, work: Work, engine: Engine) -> dict[str, int]:
    """Bytes by memory, read and written together."""
    bytes_by_memory: dict[str, int] = {}
    for name, size in COSTS[instruction.name].on_chip(instruction, work, engine) if _has_work(work) else ():
        bytes_by_memory[name] = bytes_by_memory.get(name, 0) + size
    return bytes_by_memory


def _has_work(work: Work) -> bool:
    match work:
        case Tiled():
            return bool(work.tiles.loads)
        case Timed():
            return work.cycles > 0
        case Moved():
            return True
