"""The table of costs is complete: an instruction without an entry cannot be charged as another one."""

from __future__ import annotations

import pytest

from edgemtl.hw.isa import OPERATIONS, SEQUENCER, Instruction
from edgemtl.hw.sim.cycle.costs import COSTS, macs_of
from edgemtl.hw.sim.cycle.instructions import Timed
from edgemtl.hw.sim.functional.machine import EXECUTE


def test_every_instruction_of_a_unit_has_an_entry() -> None:
    assert set(COSTS) == {operation.name for operation in OPERATIONS if operation.unit != SEQUENCER}


def test_every_instruction_of_a_unit_is_executed() -> None:
    """STREAM fills the weight ring, which the machine does itself."""
    assert {*EXECUTE, "STREAM"} == {operation.name for operation in OPERATIONS if operation.unit != SEQUENCER}


def test_an_instruction_without_an_entry_costs_nothing_in_silence() -> None:
    with pytest.raises(KeyError, match="GATHER"):
        macs_of(Instruction("GATHER", {"rows": 8}), Timed(60, 8))
