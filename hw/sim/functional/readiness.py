"""What an instruction waits for besides credits: room in the weight ring, or lines in it."""

from __future__ import annotations

from edgemtl.hw.geometry import depth_of, weight_lines
from edgemtl.hw.isa import INT8_WEIGHTS, Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.matrix import rows_of_block
from edgemtl.hw.sim.functional.transfers import lines_to_ring


def lacking(chip: Chip, instruction: Instruction) -> str:
    """What an instruction that has its credits still waits for: room in the ring, or lines in it.

    An instruction with a slot before any list exists is a hazard of its credits, which is reported when ROUTE runs.
    """
    if instruction.operands.get("slot") and not chip.router.has_list:
        return "the list of a ROUTE"
    if instruction.name == "STREAM":
        lines = lines_to_ring(chip, instruction)
        return f"room for {lines} lines in the ring, which has {chip.ring.room}" if lines > chip.ring.room else ""
    if instruction.name not in ("LINEAR", "CONV"):
        return ""
    lines = _lines_needed(chip, instruction)
    return f"{lines} lines in the ring, which holds {chip.ring.level}" if lines > chip.ring.level else ""


def _lines_needed(chip: Chip, instruction: Instruction) -> int:
    """Lines that the ring must hold: those read and those released."""
    how = instruction["table"], instruction.operands.get("format", INT8_WEIGHTS)
    read = instruction["offset"] + weight_lines(chip.columns, depth_of(instruction), instruction["n"], *how)
    if instruction.name == "LINEAR" and instruction["slot"]:
        entry = chip.router.peek(instruction["slot"])
        if entry is None or instruction["cached"]:
            return 0
        read = read if rows_of_block(instruction, entry) else 0
    return max(read, instruction["release"])
