"""The registers by which a host drives the accelerator: 32 bits each, behind one AXI4-Lite port.

A host writes the stream and its windows and then STREAM_WORDS, which queues them together; two streams may wait behind
the ones that are open. It learns of the end by STREAMS_DONE or by the interrupt. `hw/isa_documents.py` writes their
page and their constants in SystemVerilog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgemtl.hw.isa import MAGIC, WINDOWS

REGISTER_BYTES: Final = 4


@dataclass(frozen=True)
class Register:
    """A register at byte ``offset``. ``writable``: by the host; else the accelerator's own."""

    name: str
    offset: int
    writable: bool
    what: str


def _in_order() -> tuple[Register, ...]:
    rows = [
        ("IDENTITY", False, f"{MAGIC:#x}, as in HEAD"),
        ("VERSION", False, "version of the instruction set"),
        ("ENGINE_LOW", False, "digest of the engine, as in HEAD: bits 31:0"),
        ("ENGINE_HIGH", False, "bits 63:32"),
        ("CONTROL", True, "bit 0: reset, held while it is 1; bit 1: interrupt at the end of a stream and at a fault"),
        (
            "STATUS",
            False,
            "bit 0: idle, no stream is open or queued; bit 1: stopped by a fault; bit 2: no room to queue",
        ),
        ("FAULT", False, "why it stopped, 0 if it has not"),
        ("FAULT_INSTRUCTION", False, "place of the instruction in its stream"),
        ("STREAMS_DONE", False, "streams that have ended since the reset"),
        ("INTERRUPT", True, "bit 0: a stream has ended; bit 1: it stopped; a 1 that is written clears the bit"),
        ("WATCHDOG", True, "cycles in which an instruction of an open stream must start or end, 0 for any number"),
        ("CYCLES_LOW", False, "cycles since the reset: bits 31:0; reading it keeps bits 63:32 for CYCLES_HIGH"),
        ("CYCLES_HIGH", False, "bits 63:32"),
        ("DONE_CYCLE_LOW", False, "cycle in which the last stream ended: bits 31:0, as CYCLES_LOW"),
        ("DONE_CYCLE_HIGH", False, "bits 63:32"),
        ("STREAM_LINE", True, "first line of the stream; lines are addresses / 64"),
    ]
    for window in WINDOWS:
        rows.append((f"{window.upper()}_LINE", True, f"first line of the window `{window}`"))
        rows.append((f"{window.upper()}_LINES", True, f"lines of the window `{window}`"))
    rows.append(("STREAM_WORDS", True, "instructions of the stream; written, it queues the stream and its windows"))
    return tuple(
        Register(name, REGISTER_BYTES * place, writable, what) for place, (name, writable, what) in enumerate(rows)
    )


REGISTERS: Final = _in_order()
ADDRESS_BITS: Final = 8
"""Of a byte in the registers: their addresses repeat every 2^8 bytes."""
