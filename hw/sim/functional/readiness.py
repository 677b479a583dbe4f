"""What an instruction waits for beside tokens: room in the weight ring, or lines in it."""

from __future__ import annotations

from edgemtl.hw.isa import Instruction
from edgemtl.hw.sim.functional.chip import Chip
from edgemtl.hw.sim.functional.convolution import TAPS
from edgemtl.hw.sim.functional.matrix import rows_made
from edgemtl.hw.sim.functional.products import weight_lines
from edgemtl.hw.sim.functional.transfers import lines_to_ring


def lacking(chip: Chip, word: Instruction) -> str:
    """What an instruction that has its tokens still waits for: room in the ring, or lines in it.

    One with a slot that ran before there is any list is a hazard of its tokens, found when ROUTE runs.
    """
    if word.operands.get("slot") and not chip.router.has_list:
        return "the list of a ROUTE"
    if word.name == "STREAM":
        wanted = lines_to_ring(chip, word)
        return f"room for {wanted} lines in the ring, which has {chip.ring.room}" if wanted > chip.ring.room else ""
    if word.name not in ("LINEAR", "CONV"):
        return ""
    wanted = _lines_wanted(chip, word)
    return f"{wanted} lines in the ring, which holds {chip.ring.held}" if wanted > chip.ring.held else ""


def _lines_wanted(chip: Chip, word: Instruction) -> int:
    """Lines that the ring must hold: those read and those released."""
    taps = TAPS if word.name == "CONV" else 1
    read = word["offset"] + weight_lines(chip.columns, taps * word["k"], word["n"], word["table"])
    if word.name == "LINEAR" and word["slot"]:
        entry = chip.router.peek(word["slot"])
        if entry is None or word["cached"]:
            return 0
        read = read if rows_made(word, entry) else 0
    return max(read, word["release"])
