"""The state of an engine: regions, row state, weight memory, router and the board's windows."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.arith import Wide
from edgemtl.hw.isa import LINE_BYTES, REGIONS, Instruction
from edgemtl.hw.regions import ROW_STATES, capacities
from edgemtl.hw.sim.functional.board import Board, Windows
from edgemtl.hw.sim.functional.faults import Fault
from edgemtl.hw.sim.functional.hazards import Timeline
from edgemtl.hw.sim.functional.memory import Bytes, Memory
from edgemtl.hw.sim.functional.ring import Ring
from edgemtl.hw.sim.functional.routing import Router
from edgemtl.hw.sim.functional.rowstate import RowState
from edgemtl.hw.spec import Engine


class Chip:
    """Everything instructions work on. ``columns`` is Q, and the bytes of a granule; ``rows`` is P.

    ``sums``: those of the channels of a MEAN that goes on.
    """

    def __init__(self, engine: Engine, ring_lines: int, windows: Windows, timeline: Timeline | None) -> None:
        self.engine, self.rows, self.columns = engine, engine.array_rows, engine.array_columns
        self.regions = {
            name: Memory(name, self.columns, size // self.columns, timeline)
            for name, size in capacities(engine).items()
        }
        copies = [name for name in self.regions if name.startswith("scores")]
        self.states = {name: RowState(name, ROW_STATES, timeline) for name in copies}
        self.ring = Ring(ring_lines)
        lines = engine.weight_ring_bytes // LINE_BYTES
        self.cache = Memory("cache", LINE_BYTES, lines - ring_lines, timeline)
        self.router = Router(engine.routing_entries, timeline)
        self.board = Board(windows)
        self.sums: Wide = np.zeros(0, np.int64)

    def region(self, instruction: Instruction, operand: str) -> Memory:
        """The region an operand lies in. Raises Fault for a number that names none."""
        number = instruction[f"{operand}_region"]
        name = REGIONS[number] if number < len(REGIONS) else None
        if name not in self.regions:
            known = ", ".join(f"{i} {region}" for i, region in enumerate(REGIONS) if region in self.regions)
            raise Fault(f"{operand}_region must be one of {known}, not {number}")
        return self.regions[name]

    def state(self, instruction: Instruction, operand: str) -> RowState:
        """The row state of the scores that an operand names. Raises Fault for a region that has none."""
        name = self.region(instruction, operand).name
        if name not in self.states:
            raise Fault(f"{operand} must lie in {' or '.join(self.states)}, not in {name}")
        return self.states[name]

    def constants(self, instruction: Instruction, operand: str, size: int) -> Bytes:
        """``size`` bytes from an operand's address on, uint8 [size]."""
        memory = self.region(instruction, operand)
        at = instruction[operand] + np.arange(memory.span(size))
        return np.asarray(memory.read(at[None], size)[0])
