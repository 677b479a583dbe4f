"""What is written from the instruction set's table: its page in the docs and a SystemVerilog package.

``python -m edgemtl.hw.isa_documents`` writes both files, and those of `hw/register_documents.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from edgemtl.hw.arith import EXP2_TABLE
from edgemtl.hw.isa import (
    BY_NAME,
    FAULTS,
    INSTRUCTION_BYTES,
    LINE_BYTES,
    MAGIC,
    OPERATIONS,
    REGIONS,
    SEQUENCER,
    UNITS,
    VERSION,
    WINDOWS,
)
from edgemtl.hw.operands import CODE_BITS, MASK_BITS, OPERAND_BIT, Field, Operation
from edgemtl.hw.register_documents import COMMAND, registers_package, registers_page
from edgemtl.hw.rules import MOST_EXPERTS
from edgemtl.hw.timing import LATENCIES

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "isa.md"
PACKAGE: Final = ROOT / "hw" / "rtl" / "edgemtl_isa_pkg.sv"


WORD_BITS: Final = 8 * INSTRUCTION_BYTES
WAITS_BIT: Final = CODE_BITS
SIGNALS_BIT: Final = CODE_BITS + MASK_BITS
REGION_BITS: Final = BY_NAME["LOAD"].places["dst_region"][0].bits
WINDOW_BITS: Final = BY_NAME["LOAD"].places["window"][0].bits
KEYWORDS: Final = frozenset(("begin", "end", "release", "table"))
"""Names of operands that SystemVerilog has taken; members of a struct get an underscore behind them."""


def isa_page() -> str:
    """docs/isa.md."""
    sections = (line for operation in OPERATIONS for line in _section(operation))
    lines = [*_page_head(), *_summary(), *sections, *_latencies()]
    return "\n".join(lines) + "\n"


def _page_head() -> Iterator[str]:
    code, waits, signals = _range(0, CODE_BITS), _range(WAITS_BIT, MASK_BITS), _range(SIGNALS_BIT, MASK_BITS)
    yield from (
        f"<!-- `{COMMAND}` writes this page from hw/isa.py; change that table, not the page. -->",
        "",
        "# The instruction set",
        "",
        f"Version {VERSION}. [The accelerator](accelerator.md) says what they do; this page lists their bits.",
        "",
        "## The format of an instruction",
        "",
        f"An instruction has {WORD_BITS} bits, little-endian: bit 0 is the lowest bit of byte 0.",
        "",
        "| bits | name | meaning |",
        "|---|---|---|",
        f"| {code} | `code` | which operation |",
        f"| {waits} | `waits` | units from which it consumes a credit before it starts, one bit each |",
        f"| {signals} | `signals` | units to which it posts a credit when it completes, one bit each |",
        f"| {_range(OPERAND_BIT, WORD_BITS - OPERAND_BIT)} | | operands, then zeros |",
        "",
        f"Bits of `waits` and `signals`: {_numbered(UNITS)}.",
        f"HEAD and END have neither: the {SEQUENCER} executes them.",
        "",
        "A stream is HEAD, instructions, END. An instruction is refused if its code is not listed below, if a bit",
        "behind its operands is set, if an address names a region that its operand does not list, if `format` or",
        "`factor` has another value than those listed, or if it is HEAD or END and waits or signals. A stream is",
        "refused unless its magic, version, length and CRC are right, it was compiled for this engine, HEAD and END",
        "are only at its ends, and every instruction fulfils the [rules](accelerator.md#rules) of the engine. The CRC",
        "covers every instruction, with",
        "the `crc` field of HEAD set to 0.",
        "",
        "Signed operands are two's complement. An on-chip address is a region and a granule in it; a granule is",
        "`array_columns` bytes, and strides on chip count granules. Addresses and steps in DRAM and offsets in the",
        f"weight ring count lines of {LINE_BYTES} bytes.",
        "",
        f"- Regions: {_numbered(REGIONS)}.",
        f"- Windows: {_numbered(WINDOWS)}.",
        "",
    )


def _summary() -> Iterator[str]:
    yield from ("## Operations", "", "| code | operation | unit | bits in use | |", "|---|---|---|---|---|")
    for operation in OPERATIONS:
        link = f"[{operation.name}](#{operation.name.lower()})"
        yield f"| {operation.code} | {link} | {operation.unit} | {operation.bits} | {operation.what} |"


def _section(operation: Operation) -> Iterator[str]:
    yield from ("", f"## {operation.name}", "", f"Code {operation.code}, {operation.unit}: {operation.what}.", "")
    if not operation.fields:
        yield "No operands."
        return
    yield from ("| bits | name | signed | meaning |", "|---|---|---|---|")
    for field, bit in operation.places.values():
        signed = "yes" if field.signed else "no"
        yield f"| {_range(bit, field.bits)} | `{field.name}` | {signed} | {field.what}{_only(field)} |"


def _only(field: Field) -> str:
    """The regions that an address may name."""
    if not field.name.endswith("_region"):
        return ""
    return ": " + ", ".join(f"`{REGIONS[number]}`" for number in field.allowed)


def _latencies() -> Iterator[str]:
    yield from (
        "",
        "## Latencies",
        "",
        "Cycles besides the work itself; hw/timing.py, which the simulator reads too.",
        "",
    )
    yield from ("| name | cycles | what |", "|---|---|---|")
    yield from (f"| `{latency.name}` | {latency.cycles} | {latency.what} |" for latency in LATENCIES)


def _range(bit: int, bits: int) -> str:
    return f"[{bit + bits - 1}:{bit}]" if bits > 1 else f"[{bit}]"


def _numbered(names: Iterable[str]) -> str:
    return ", ".join(f"{number} `{name}`" for number, name in enumerate(names))


def isa_package() -> str:
    """hw/rtl/edgemtl_isa_pkg.sv: enums, the place of every operand, and a packed struct for every operation."""
    return "\n".join(
        [*_package_head(), *(line for operation in OPERATIONS for line in _operation(operation)), *_package_foot()]
    )


def _package_head() -> Iterator[str]:
    yield from (
        f"// `{COMMAND}` writes this file from hw/isa.py; change that table, not the file.",
        "//",
        "// An operand is word[OPERATION_FIELD_LOW +: OPERATION_FIELD_WIDTH], without a sign, or a member of",
        "// operation_t'(word), which has its sign.",
        "package edgemtl_isa_pkg;",
        "  // No design uses all of them.",
        "  /* verilator lint_off UNUSEDPARAM */",
    )
    numbers = {
        "WORD_BITS": WORD_BITS,
        "WORD_BYTES": INSTRUCTION_BYTES,
        "LINE_BYTES": LINE_BYTES,
        "VERSION": VERSION,
        "UNITS": len(UNITS),
        "CODE_LOW": 0,
        "CODE_WIDTH": CODE_BITS,
        "WAITS_LOW": WAITS_BIT,
        "WAITS_WIDTH": MASK_BITS,
        "SIGNALS_LOW": SIGNALS_BIT,
        "SIGNALS_WIDTH": MASK_BITS,
        "OPERANDS_LOW": OPERAND_BIT,
    }
    yield from (_number(name, value) for name, value in numbers.items())
    yield from (_number(f"CYCLES_{latency.name}", latency.cycles) for latency in LATENCIES)
    yield f"  localparam logic [31:0] MAGIC = 32'h{MAGIC:08x};"
    yield from _exp2_table()
    yield from ("", f"  typedef logic [{WORD_BITS - 1}:0] word_t;", "")
    yield from _enum("code", "OP", CODE_BITS, {operation.name: operation.code for operation in OPERATIONS})
    yield from _enum("unit", "UNIT", (len(UNITS) - 1).bit_length(), _by_number(UNITS))
    yield from _enum("region", "REGION", REGION_BITS, _by_number(REGIONS))
    yield from _enum("fault", "FAULT", (len(FAULTS) - 1).bit_length(), _by_number(FAULTS))
    yield from _enum("window", "WINDOW", WINDOW_BITS, _by_number(WINDOWS))


def _exp2_table() -> Iterator[str]:
    """What `arith.exp2_byte` looks up."""
    entries = [f"16'd{entry}" for entry in EXP2_TABLE.tolist()]
    yield f"  localparam logic [15:0] EXP2_TABLE [{len(entries)}] = '{{"
    rows = [", ".join(entries[at : at + 8]) for at in range(0, len(entries), 8)]
    yield ",\n".join(f"    {row}" for row in rows) + "\n  };"


def _package_foot() -> Iterator[str]:
    yield from _units()
    yield from _legality()
    yield from ("  /* verilator lint_on UNUSEDPARAM */", "endpackage", "")


def _units() -> Iterator[str]:
    yield "  // The unit that executes an operation; of the sequencer's own and of codes that are none, any."
    yield from ("  function automatic unit_e unit_of(logic [5:0] code);", "    case (code)")
    for unit in UNITS[1:]:
        names = ", ".join(f"OP_{operation.name}" for operation in OPERATIONS if operation.unit == unit)
        yield f"      {names}: return UNIT_{unit.upper()};"
    yield from (f"      default: return UNIT_{UNITS[0].upper()};", "    endcase", "  endfunction", "")


def _legality() -> Iterator[str]:
    """What `encoding.decode` takes and is not token order."""
    yield "  // Whether a unit may be given the instruction: a code of the table, zeros behind its operands, values"
    yield "  // that its operands may have, no masks of the sequencer's own, no token order."
    yield from ("  function automatic logic is_legal(word_t word);", "    case (word[CODE_LOW +: CODE_WIDTH])")
    for operation in OPERATIONS:
        yield f"      OP_{operation.name}: return " + " && ".join(_demands(operation)) + ";"
    yield from ("      default: return 1'b0;", "    endcase", "  endfunction", "")


def _demands(operation: Operation) -> Iterator[str]:
    if operation.unit == SEQUENCER:
        yield f"~|word[{OPERAND_BIT - 1}:{CODE_BITS}]"
    for name, (field, bit) in operation.places.items():
        operand = f"word{_range(bit, field.bits)}"
        if name in ("cache", "cached"):
            yield f"~|{operand}"
        elif name == "slot":
            yield f"{operand} <= {field.bits}'d{MOST_EXPERTS}"
        elif field.allowed:
            yield "(" + " || ".join(f"{operand} == {field.bits}'d{value}" for value in field.allowed) + ")"
    if operation.bits < WORD_BITS:
        yield f"~|word[{WORD_BITS - 1}:{operation.bits}]"


def _number(name: str, value: int) -> str:
    return f"  localparam int unsigned {name} = {value};"


def _by_number(names: Iterable[str]) -> dict[str, int]:
    return {name.upper(): number for number, name in enumerate(names)}


def _enum(name: str, prefix: str, bits: int, values: dict[str, int]) -> Iterator[str]:
    members = [f"    {prefix}_{key} = {bits}'d{value}" for key, value in values.items()]
    yield f"  typedef enum logic [{bits - 1}:0] {{"
    yield from (f"{member}," for member in members[:-1])
    yield from (members[-1], f"  }} {name}_e;", "")


def _operation(operation: Operation) -> Iterator[str]:
    yield f"  // {operation.name}, {operation.unit}: {operation.what}."
    for field, bit in operation.places.values():
        yield _number(f"{operation.name}_{field.name.upper()}_LOW", bit)
        yield _number(f"{operation.name}_{field.name.upper()}_WIDTH", field.bits)
    yield "  typedef struct packed {"
    if operation.bits < WORD_BITS:
        yield f"    {_logic(WORD_BITS - operation.bits)} zeros;"
    yield from (f"    {_member(field)}" for field in reversed(operation.fields))
    yield from (f"    {_logic(MASK_BITS)} signals;", f"    {_logic(MASK_BITS)} waits;", "    code_e code;")
    yield from (f"  }} {operation.name.lower()}_t;", "")


def _member(field: Field) -> str:
    name = f"{field.name}_" if field.name in KEYWORDS else field.name
    return f"{_logic(field.bits, field.signed)} {name};"


def _logic(bits: int, signed: bool = False) -> str:
    return f"logic{' signed' if signed else ''}{f' [{bits - 1}:0]' if bits > 1 else ''}"


def written() -> dict[Path, str]:
    """Every file that follows from the tables of instructions and registers, with its text."""
    return {
        PAGE: isa_page(),
        PACKAGE: isa_package(),
        ROOT / "docs" / "registers.md": registers_page(),
        PACKAGE.with_name("edgemtl_registers_pkg.sv"): registers_package(),
    }


def main() -> None:
    """Write them all."""
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
