"""What is written from the table of registers: their page in the docs and a SystemVerilog package."""

from __future__ import annotations

from typing import Final

from edgemtl.hw.isa import FAULTS
from edgemtl.hw.registers import ADDRESS_BITS, REGISTERS

COMMAND: Final = "python -m edgemtl.hw.isa_documents"
WHY: Final = {
    "none": "it has not stopped",
    "instruction": "an instruction is not legal",
    "stream": "HEAD is not of this engine and version, or END is not where HEAD says",
    "crc": "the CRC is another than HEAD's",
    "access": "an instruction would have left its region or window",
    "memory": "DRAM answered with an error",
    "credits": "a counter of credits overflowed",
    "watchdog": "no instruction of an open stream started or ended in WATCHDOG cycles",
}
"""What each of `isa.FAULTS` means."""


def registers_page() -> str:
    """docs/registers.md."""
    lines = [
        f"<!-- `{COMMAND}` writes this page from hw/registers.py; change that table, not the page. -->",
        "",
        "# The registers of the accelerator",
        "",
        "32 bits each, behind one AXI4-Lite port. A host writes a stream's line and windows, then STREAM_WORDS, which",
        "queues them; up to two streams wait behind those that are open. A line is 64 bytes of DRAM. What cannot be",
        "done is answered with SLVERR and changes nothing: an address without a register, a write to a register of the",
        "accelerator's own, a write of less than four bytes, STREAM_WORDS where no room is left.",
        "",
        "A fault stops the accelerator until a reset. It does nothing more, and results of the stream do not count.",
        "",
        "| offset | register | host | meaning |",
        "|---|---|---|---|",
        *(
            f"| {r.offset:#04x} | `{r.name}` | {'reads, writes' if r.writable else 'reads'} | {r.what} |"
            for r in REGISTERS
        ),
        "",
        "| fault | name | why |",
        "|---|---|---|",
        *(f"| {number} | `{name}` | {WHY[name]} |" for number, name in enumerate(FAULTS)),
    ]
    return "\n".join(lines) + "\n"


def registers_package() -> str:
    """hw/rtl/edgemtl_registers_pkg.sv: every register's offset, and what is queued of a stream."""
    members = [f"    REG_{r.name} = {ADDRESS_BITS}'h{r.offset:02x}" for r in REGISTERS]
    return "\n".join(
        [
            f"// `{COMMAND}` writes this file from hw/registers.py; change that table, not the file.",
            "package edgemtl_registers_pkg;",
            f"  localparam int unsigned ADDRESS_BITS = {ADDRESS_BITS};",
            "",
            "  typedef enum logic [ADDRESS_BITS-1:0] {",
            ",\n".join(members),
            "  } register_e;",
            "",
            "  // A stream and its windows: of each window, in the order of window_e, its first line and its lines.",
            "  typedef struct packed {",
            "    logic [23:0] words;",
            "    logic [31:0] line;",
            "    logic [7:0][31:0] windows;",
            "  } queued_stream_t;",
            "endpackage",
            "",
        ]
    )
