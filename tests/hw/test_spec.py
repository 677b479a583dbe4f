"""Boards and engines: the files, the sums and every refusal of a file or of an engine that cannot be."""

import json
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemtl.errors import ConfigError, EdgemtlError, ResourceError, UsageError
from edgemtl.hw import isa, regions, resources, spec
from edgemtl.hw.datasheet import describe_spec
from edgemtl.hw.geometry import lanes_of, score_rows_lie_apart
from edgemtl.hw.regions import capacities
from edgemtl.hw.sim.cycle import kernel, sequencer
from edgemtl.hw.spec import BOARDS, check_spec, read_spec, resource_sum
from edgemtl.records import leaves, shorten

TEXT = {name: (spec.FOLDER / f"{name}.toml").read_text() for name in BOARDS}
MISSING = object()
_BUFFERS = read_spec("zcu104").engine.buffers
GRANULES_OF_48 = replace(_BUFFERS, constants=replace(_BUFFERS.constants, width_bytes=48))


def needs(made: spec.AcceleratorSpec) -> dict:
    return resources.totals(resource_sum(made))


def with_engine(made: spec.AcceleratorSpec, **changes) -> spec.AcceleratorSpec:
    return replace(made, engine=replace(made.engine, **changes))


def unit_sums(made: spec.AcceleratorSpec, resource: str) -> dict:
    return {row.unit: row.amount for row in resource_sum(made) if row.resource == resource}


def write(value) -> str:
    """A TOML value; tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(write, value)) + "]"
    return json.dumps(value) if isinstance(value, bool | str) else str(value)


def changed(key: str, value, board: str = "zcu104") -> str:
    """The file of ``board`` with one dotted key set, or taken out."""
    document = tomllib.loads(TEXT[board])
    *path, last = key.split(".")
    table = document
    for part in path:
        table = table[part]
    if value is MISSING:
        table.pop(last, None)
    else:
        table[last] = value
    return "".join(f"{json.dumps(name)} = {write(item)}\n" for name, item in document.items())


def read_text(folder: Path, text: str | bytes) -> spec.AcceleratorSpec:
    path = folder / "my.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_spec(path)


def test_boards_are_the_files():
    assert set(BOARDS) == {path.stem for path in spec.FOLDER.glob("*.toml")}
    assert BOARDS[0] == "zcu104"


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_fits_with_its_name_and_a_whole_table(board):
    made = read_spec(board)
    assert made.name == board
    assert not made.hypothetical
    has = resources.available(made.board.part)
    assert all(need <= has[name] for name, need in needs(made).items())
    assert all(row.amount > 0 and row.formula for row in resource_sum(made))


@pytest.mark.parametrize("board", BOARDS)
def test_every_number_of_a_file_has_its_source_in_a_comment(board):
    table = ""
    for line in TEXT[board].splitlines():
        table = line.strip("[]") if line.startswith("[") else table
        if table in ("board.part", "board.memory", "board.ports", "board.cpu") and "=" in line:
            assert "  # " in line, f"{board}: {line}"


@pytest.mark.parametrize("board", BOARDS)
def test_formulas_say_what_amounts_are(board):
    for row in resource_sum(read_spec(board)):
        value = eval(row.formula, {"ceil": lambda x: -int(-x // 1)})
        assert abs(value - row.amount) < 1, row


@pytest.mark.parametrize(
    ("board", "part", "array", "dsp", "bram36", "uram288"),
    [
        ("zcu104", (230_400, 460_800, 1_728, 312, 96), (96, 32), 1_655, 221.5, 92),
        ("zcu104x2", (230_400, 460_800, 1_728, 312, 96), (96, 32), 1_655, 269.5, 92),
        ("zcu102", (274_080, 548_160, 2_520, 912, 0), (96, 32), 1_655, 829.5, 0),
        ("kv260", (117_120, 234_240, 1_248, 144, 64), (64, 32), 1_143, 127.5, 56),
        ("ultra96v2", (70_560, 141_120, 360, 216, 0), (32, 16), 327, 177.5, 0),
    ],
)
def test_parts_and_sums(board, part, array, dsp, bram36, uram288):
    made = read_spec(board)
    assert tuple(resources.available(made.board.part).values()) == part
    assert (made.engine.array_rows, made.engine.array_columns) == array
    sums = needs(made)
    assert (sums["dsp"], sums["bram36"], sums["uram288"]) == (dsp, bram36, uram288)


def test_zcu104_is_the_machine_of_the_study():
    made = read_spec("zcu104")
    engine = made.engine
    assert (engine.weight_load_bytes_per_cycle, engine.softmax_lanes, engine.vector_lanes) == (128, 64, 32)
    assert (engine.weight_ring_bytes, engine.router_choices, engine.clock_mhz) == (2**20, 8, 300)
    # 1,536 + 32 to finish, 64 lanes and 8 a row, a row of MIX, weights of experts, ten addresses and two of tokens.
    assert unit_sums(made, "dsp") == {"array": 1568, "vector": 72, "attention": 1, "router": 2, "crossbar": 12}
    # The class token's 20 words of 768 bits, 14 bits in 8 LUT.
    assert unit_sums(made, "lut")["side"] == 8 * 55
    # The study's 92 UltraRAM: 24 + 24 + 12 + 32.
    uram = {"weight ring": 32, "residual": 24, "hidden": 24, "input": 12}
    assert unit_sums(made, "uram288") == uram
    # BRAM is not the study's, whose scores had 8 bits: two copies, 24 blocks across for 192 bytes, 3 deep for 1,536.
    bram = {"scores": 2 * 24 * 3, "queries": 12 * 2, "constants": 4, "router": 8 + 1, "sequencer": 4}
    assert unit_sums(made, "bram36") == bram | {"array": 14.5, "dma": 16, "row state": 2 * 3}
    assert engine.macs_per_cycle == 3072
    assert made.sustained_bytes_per_cycle == pytest.approx(42.667, abs=1e-3)


def test_two_tiles_a_cycle_need_what_the_proposal_counts():
    made, plain = read_spec("zcu104x2"), read_spec("zcu104")
    assert made.engine.macs_per_cycle == 6144
    assert made.board == plain.board
    assert made.engine.clock_mhz == plain.engine.clock_mhz
    # 12 sums of chains more a column; two words of 17 bits before 1,536 blocks; 2 x 36 bits of 192 chains; allowance.
    more = {
        unit: unit_sums(made, "ff")[unit] - unit_sums(plain, "ff").get(unit, 0) for unit in ("array", "waiting weights")
    }
    assert more["array"] == round(32 * 45.5 * 12)
    lut = unit_sums(made, "lut")["second tile"]
    assert more["waiting weights"] == 1536 * 34 + 192 * 72 + 5000
    assert lut == 47 * 96 + 3 * 1333 + 1500 + 10_000
    sheet = {figure.name: (figure.value, figure.basis) for figure in describe_spec(made).figures}
    assert sheet["dsp_clock_mhz"] == (600, "target")
    assert sheet["peak_gmac_per_s"] == (1843.2, "calculated")
    assert "second tile" not in unit_sums(plain, "lut")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("dsp_clock_ratio", 3, "engine.dsp_clock_ratio must be one of 1, 2, not 3"),
        (
            "weight_ring_bytes",
            8192,
            "engine.weight_ring_bytes must be at least four weight tiles, 12288 bytes, not 8192",
        ),
        ("buffers.scores.width_bytes", 96, "whole granules of 32 bytes, at least 128, since each lane has one, not 96"),
        (
            "buffers.scores.width_bytes",
            160,
            "engine.buffers.scores.width_bytes must be at least 192 where engine.dsp_clo",
        ),
        ("buffers.queries.width_bytes", 96, "since the array reads two tiles of a row at once, not 96"),
        (
            "buffers.input.width_bytes",
            64,
            "engine.buffers.input.width_bytes must be at least 96 where engine.dsp_clock",
        ),
    ],
)
def test_two_tiles_a_cycle_are_refused_where_memories_are_too_small(tmp_path, key, value, text):
    with pytest.raises(ConfigError, match=re.escape(text)):
        read_text(tmp_path, changed(f"engine.{key}", value, "zcu104x2"))


@pytest.mark.parametrize(
    ("rows", "columns", "load", "dsp", "bram36", "lut", "ff"),
    [
        (96, 32, 128, 1568, 14.5, 15_507, 22_132),
        (96, 32, 32, 1568, 14.5, 15_476, 21_316),
        (64, 48, 48, 1584, 21.5, 18_997, 23_242),
    ],
)
def test_the_array_is_what_was_synthesised(rows, columns, load, dsp, bram36, lut, ff):
    made = with_engine(read_spec("zcu104"), array_rows=rows, array_columns=columns, weight_load_bytes_per_cycle=load)
    amounts = {row.resource: row.amount for row in resource_sum(made) if row.unit == "array"}
    assert (amounts["dsp"], amounts["bram36"]) == (dsp, bram36)
    assert amounts["lut"] == pytest.approx(lut, rel=2e-3)
    assert amounts["ff"] == pytest.approx(ff, rel=2e-3)


def test_the_sequencer_holds_the_queues_that_the_cycle_simulator_has():
    # A queue in distributed RAM: 64 words of 256 bits, 7 bits in 8 LUT. Words fetched ahead: blocks of 8 bytes x 512.
    assert kernel.QUEUE_INSTRUCTIONS == 64
    queues = 6 * -(-256 // 7) * 8
    assert queues == 1776
    assert sequencer.AHEAD_INSTRUCTIONS == resources.FETCHED_INSTRUCTIONS <= 512
    for board in BOARDS:
        made = read_spec(board)
        assert unit_sums(made, "lut")["sequencer"] == 3000 + 2000 + queues
        assert unit_sums(made, "bram36")["sequencer"] == 32 / 8


def test_three_blocks_hold_the_row_state_of_a_copy():
    # A block of 36 Kib is 512 x 72. SCORES updates a row of each of three heads in a cycle: three banks.
    rows, bits, banks = 512, 72, 3
    assert regions.ROW_STATES <= banks * rows
    # The largest score, the mantissa and the exponent of the reciprocal.
    assert 16 + 17 + 6 <= bits
    for board in BOARDS:
        made = read_spec(board)
        assert unit_sums(made, "bram36")["row state"] == 2 * banks
        assert made.engine.accumulator_rows * 3 <= regions.ROW_STATES


def test_one_token_more_doubles_every_uram():
    made = read_spec("zcu104")
    wider = replace(made.engine.buffers.input, bytes=made.engine.buffers.input.bytes + 384)
    made = with_engine(made, buffers=replace(made.engine.buffers, input=wider))
    assert unit_sums(made, "uram288")["input"] == 24


def test_what_addresses_and_rows_reach_is_taken():
    made = read_spec("zcu104")
    queries = replace(made.engine.buffers.queries, bytes=32 * 2**17, width_bytes=4096, memory="uram288")
    large = {"weight_ring_bytes": 64 * (2**17 - 1), "accumulator_rows": 2047}
    made = with_engine(made, buffers=replace(made.engine.buffers, queries=queries), **large)
    # Every rule holds: only the part has too little.
    with pytest.raises(ResourceError):
        check_spec(made)


@pytest.mark.parametrize("board", BOARDS)
def test_regions_are_those_that_instructions_name_in_whole_granules(board):
    engine = read_spec(board).engine
    sizes = capacities(engine)
    assert set(sizes) == set(isa.REGIONS)
    assert not any(size % engine.array_columns for size in sizes.values())


def test_side_extends_the_rows_of_tokens_by_one():
    # One token more of 384 channels: 16 bits in residual, keys and values in hidden, bytes in input.
    assert capacities(read_spec("zcu104").engine) == {
        "residual": 1025 * 384 * 2,
        "hidden": 1025 * 2 * 384,
        "input": 1025 * 384,
        "scores0": 4608 * 64,
        "scores1": 4608 * 64,
        "queries": 1536 * 64,
        "constants": 16 * 1024,
    }


@pytest.mark.parametrize(
    ("board", "heads", "queries", "words"),
    [
        ("zcu104", 3, 45, 34),
        ("zcu104x2", 3, 60, 34),
        ("zcu102", 3, 45, 34),
        ("kv260", 2, 44, 23),
        ("ultra96v2", 1, 93, 11),
    ],
)
def test_scores_hold_the_block_that_the_file_says(board, heads, queries, words):
    engine = read_spec(board).engine
    columns, scores = engine.array_columns, engine.buffers.scores
    row = words * columns * 2
    at_once = 2 * engine.dsp_clock_ratio
    assert score_rows_lie_apart(2 * words, heads, lanes_of(engine, "scores0"), at_once)
    assert heads * queries * row <= scores.bytes < heads * (queries + 1) * row
    assert scores.width_bytes == heads * columns * at_once


def test_entries_of_the_router_are_four_bytes_in_whole_blocks():
    made = read_spec("ultra96v2")
    assert [
        unit_sums(with_engine(made, routing_entries=entries), "bram36")["router"] for entries in (1, 1024, 1025, 65_536)
    ] == [2, 2, 3, 65]


@pytest.mark.parametrize(
    ("board", "changes", "missing", "texts"),
    [
        (
            "zcu104",
            {"array_columns": 48, "weight_load_bytes_per_cycle": 96, "buffers": GRANULES_OF_48},
            {"dsp": 711},
            [
                "dsp array 2,352 + vector 72 + attention 1 + crossbar 12 + router 2 = 2,439, XCZU7EV has 1,728",
                "711 dsp are missing",
            ],
        ),
        (
            "zcu104",
            {"weight_ring_bytes": 2**21},
            {"uram288": 28},
            ["uram288 weight ring 64 + residual 24 + hidden 24 + input 12 = 124, XCZU7EV has 96"],
        ),
        (
            "zcu104",
            {"vector_lanes": 72},
            {"dsp": 7},
            ["dsp array 1,568 + vector 152 + attention 1 + crossbar 12 + router 2 = 1,735, XCZU7EV has 1,728"],
        ),
        (
            "zcu102",
            {"weight_ring_bytes": 2**21},
            {"bram36": 301.5},
            ["301.5 bram36 are missing", "weight ring 512", "= 1,213.5, XCZU9EG has 912"],
        ),
        (
            "ultra96v2",
            {"weight_ring_memory": "uram288"},
            {"uram288": 4},
            ["uram288 weight ring 4 = 4, XCZU3EG has 0"],
        ),
        (
            "kv260",
            {"softmax_lanes": 512, "vector_lanes": 512},
            {"dsp": 855, "lut": None, "ff": None},
            [
                "dsp array 1,056 + vector 1,032 + attention 1 + crossbar 12 + router 2 = 2,103, XCK26 has 1,248",
                "XCK26 has 117,120; ff ",
            ],
        ),
    ],
)
def test_what_the_part_cannot_hold_is_refused_with_the_sum(board, changes, missing, texts):
    made = with_engine(read_spec(board), **changes)
    with pytest.raises(ResourceError) as caught:
        check_spec(made)
    assert caught.value.exit_code == 4
    assert set(caught.value.missing) == set(missing)
    assert all(count in (None, caught.value.missing[name]) for name, count in missing.items())
    assert str(caught.value).startswith(f"{board}: the engine does not fit, ")
    assert str(caught.value).endswith("; take less of the largest terms")
    for text in texts:
        assert text in str(caught.value)


def test_a_file_over_the_part_is_refused_by_its_name(tmp_path):
    with pytest.raises(ResourceError, match=r"/my\.toml: the engine does not fit, 7 dsp are missing: dsp array 1,568"):
        read_text(tmp_path, changed("engine.vector_lanes", 72))


WRONG = [
    ("engine.array_rows", 48, "engine.array_rows must be one of 8, 16, 32, 64, 96, not 48"),
    ("engine.array_rows", True, "engine.array_rows must be one of 8, 16, 32, 64, 96, not True"),
    ("engine.array_columns", 33, "engine.array_columns must be even, since two columns share a DSP block, not 33"),
    (
        "engine.array_columns",
        64,
        "engine.array_rows must be whole granules of engine.array_columns, 64, since a row's bytes are read in tiles",
    ),
    ("engine.accumulator_rows", 2048, "engine.accumulator_rows must be at most 2047, the rows of an instruction, not"),
    ("engine.routing_entries", 65_537, "engine.routing_entries must be a whole number from 1 to 65536, not 65537"),
    ("engine.routing_entries", 0, "engine.routing_entries must be a whole number from 1 to 65536, not 0"),
    ("engine.array_columns", 0, "engine.array_columns must be a whole number from 2 to 1024, not 0"),
    ("engine.clock_mhz", "fast", "engine.clock_mhz must be a whole number from 1 to 2000, not 'fast'"),
    ("engine.clock_mhz", 300.5, "engine.clock_mhz must be a whole number from 1 to 2000, not 300.5"),
    ("engine.clock_mhz", 400, "engine.clock_mhz must be at most board.ports.most_clock_mhz, 333, not 400"),
    ("engine.softmax_lanes", MISSING, "engine.softmax_lanes must be a whole number from 1 to 4096; it is missing"),
    ("engine.dma_ports", 5, "engine.dma_ports must be at most board.ports.hp, 4, not 5"),
    (
        "engine.weight_ring_bytes",
        4096,
        "engine.weight_ring_bytes must be at least two weight tiles, 6144 bytes, not 4096",
    ),
    (
        "engine.weight_ring_bytes",
        6208 - 32,
        "engine.weight_ring_bytes must be a multiple of 64, the bytes of a line, not 6176",
    ),
    (
        "engine.weight_ring_bytes",
        64 * 2**17,
        "engine.weight_ring_bytes must be at most 131071 lines of 64 bytes, 8388544, not 8388608",
    ),
    ("engine.weight_ring_memory", "lutram", "engine.weight_ring_memory must be one of bram36, uram288, not 'lutram'"),
    (
        "engine.weight_load_bytes_per_cycle",
        100,
        "weight_load_bytes_per_cycle must be whole rows of the array, 32 bytes each, that divide its 96 rows, not 100",
    ),
    (
        "engine.weight_load_bytes_per_cycle",
        768,
        "weight_load_bytes_per_cycle must be at most a row for each of the array's 12 chains, 384, not 768",
    ),
    (
        "engine.buffers.hidden.width_bytes",
        80,
        "engine.buffers.hidden.width_bytes must be whole granules of 32 bytes, at least 32, since each lane has",
    ),
    (
        "engine.buffers.scores.width_bytes",
        32,
        "engine.buffers.scores.width_bytes must be whole granules of 32 bytes, at least 64, since each lane has",
    ),
    ("engine.weight_load_bytes_per_cycle", 16, "that divide its 96 rows, not 16"),
    ("engine.weight_load_bytes_per_cycle", 160, "that divide its 96 rows, not 160"),
    (
        "engine.buffers.scores.width_bytes",
        100,
        "engine.buffers.scores.width_bytes must be a multiple of 8, the width of a block, not 100",
    ),
    (
        "engine.buffers.scores.copies",
        1,
        "engine.buffers.scores.copies must be 2: softmax works on one while the array fills the other, not 1",
    ),
    ("engine.buffers.scores.copies", 3, "engine.buffers.scores.copies must be 2: softmax"),
    ("engine.buffers.side.bytes", 24, "engine.buffers.side.bytes must be at least one granule, 32 bytes, not 24"),
    ("engine.buffers.constants.bytes", 31, "engine.buffers.constants.bytes must be at least one granule, 32 bytes"),
    ("engine.buffers.queries", MISSING, "engine.buffers.queries must be a table; it is missing"),
    (
        "engine.buffers.queries.bytes",
        32 * (2**17 + 1),
        "the region queries of engine.buffers must be at most 131072 granules of 32 bytes, the reach of an address, "
        "not 131073",
    ),
    (
        "engine.buffers.input.bytes",
        32 * 2**17,
        "the region input of engine.buffers must be at most 131072 granules of 32 bytes, the reach of an address, not",
    ),
    ("engine.buffers.scores", MISSING, "engine.buffers.scores must be a table; it is missing"),
    ("engine.buffers.scores", 3, "engine.buffers.scores must be a table, not 3"),
    (
        "engine.buffers.spare",
        {},
        "keys of [engine.buffers] must be among residual, hidden, input, scores, queries, constants, side, not 'spare'",
    ),
    ("board", [], "board must be a table, not []"),
    ("board.part.lut", -1, "board.part.lut must be a whole number from 1 to 10000000, not -1"),
    ("board.part.luts", 5, "keys of [board.part] must be among name, lut, ff, dsp, bram36, uram288, not 'luts'"),
    ("board.part.name", "", "board.part.name must be a line of 1 to 40 printable characters, not ''"),
    ("board.title", "two\nlines", "board.title must be a line of 1 to 80 printable characters, not 'two\\nlines'"),
    ("board.memory.data_bits", 48, "board.memory.data_bits must be one of 16, 32, 64, 128, not 48"),
    (
        "board.memory.sustained_bytes_per_s",
        17_066_666_665,
        "board.memory.sustained_bytes_per_s must be at most the peak, 17066666664, not 17066666665",
    ),
    ("hypothetical", 1, "hypothetical must be true or false, not 1"),
    ("estimated", "all", "estimated must be a list of texts, not 'all'"),
    ("estimated", [1], "estimated must be a list of texts, not [1]"),
    ("estimated", ["board.part.luts"], "estimated must be made of keys of the board: board.title, board.part.name,"),
    ("nmae", "x", "the keys must be among name, board, engine, hypothetical, estimated, not 'nmae'"),
    ("name", MISSING, "name must be a line of 1 to 40 printable characters; it is missing"),
]


@pytest.mark.parametrize(("key", "value", "text"), WRONG)
def test_wrong_files_are_refused_with_key_rule_and_value(tmp_path, key, value, text):
    with pytest.raises(ConfigError) as caught:
        read_text(tmp_path, changed(key, value))
    assert str(caught.value).startswith(f"{tmp_path / 'my.toml'}: ")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"name = ", "my.toml: a board must be a readable TOML file; Invalid value"),
        (b"\xff", "my.toml: a board must be a readable TOML file; 'utf-8' codec"),
        (b"a = " + b"[" * 9000, "my.toml: a board must be a readable TOML file; "),
        (b"a = " + b"9" * 5000, "my.toml: a board must be a readable TOML file; Exceeds the limit"),
        (b" " * (2**20 + 1), "my.toml: a board file must have at most 1048576 bytes; it has more"),
        (b"", "my.toml: name must be a line of 1 to 40 printable characters; it is missing"),
    ],
    ids=["no value", "no text", "nested", "long", "large", "empty"],
)
def test_files_that_are_no_toml(tmp_path, content, text):
    with pytest.raises(ConfigError) as caught:
        read_text(tmp_path, content)
    assert text in str(caught.value)


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml: a board must be a readable TOML file; .*No such file"):
        read_spec(tmp_path / "no.toml")
    (tmp_path / "dir.toml").mkdir()
    with pytest.raises(ConfigError, match="a board must be a readable TOML file"):
        read_spec(tmp_path / "dir.toml")
    with pytest.raises(UsageError, match=r"a board must be one of zcu104, .* or a path that ends in \.toml, not 'z80'"):
        read_spec("z80")


def test_numbers_too_long_to_show_are_described(tmp_path):
    huge = TEXT["zcu104"].replace("dsp = 1_728", "dsp = 0x1" + "0" * 5000)
    with pytest.raises(ConfigError, match=r"board\.part\.dsp must be a whole number .*, not int too long to show"):
        read_text(tmp_path, huge)
    assert shorten("a" * 100) == "'" + "a" * 56 + "..."


@pytest.mark.parametrize("board", BOARDS)
def test_the_file_as_written_again_means_the_same(tmp_path, board):
    assert read_text(tmp_path, changed("name", board, board)) == read_spec(board)


def test_a_hypothetical_board_says_so_in_every_figure_of_it(tmp_path):
    made = read_text(tmp_path, changed("hypothetical", True))
    sheet = describe_spec(made)
    assert sheet.hypothetical
    assert {f.basis for f in sheet.figures if f.name.startswith("board.")} == {"hypothetical"}
    assert sheet.to_json()["hypothetical"] is True


def test_the_data_sheet_says_where_figures_come_from():
    sheet = describe_spec(read_spec("zcu104"))
    basis = {figure.name: figure.basis for figure in sheet.figures}
    assert basis["board.part.dsp"] == "published"
    assert basis["board.memory.sustained_bytes_per_s"] == "estimated"
    assert (basis["engine.array_rows"], basis["engine.clock_mhz"]) == ("chosen", "target")
    value = {figure.name: figure.value for figure in sheet.figures}
    assert (value["peak_macs_per_cycle"], value["peak_gmac_per_s"]) == (3072, 921.6)
    assert value["memory_sustained_bytes_per_cycle"] == 42.67
    assert [(row.resource, row.basis) for row in sheet.rows if row.unit == "array"][:2] == [
        ("dsp", "prototype"),
        ("bram36", "prototype"),
    ]
    document = json.loads(json.dumps(sheet.to_json()))
    shares = {total["resource"]: total["share"] for total in document["totals"]}
    assert shares["dsp"] == pytest.approx(1655 / 1728)
    assert describe_spec(read_spec("zcu102")).to_json()["totals"][-1]["share"] is None


KEYS = [
    *("name", "hypothetical", "estimated", "board", "engine", "engine.buffers", "engine.extra", "board.part"),
    *(f"{table}.{key}" for table in ("board", "engine") for key, _ in leaves(getattr(read_spec("zcu104"), table))),
]
SCALARS = st.one_of(
    st.booleans(), st.text(max_size=8), st.integers(-(2**70), 2**70), st.integers(0, 300), st.floats(width=32)
)
VALUES = st.one_of(
    st.just(MISSING),
    SCALARS,
    st.lists(SCALARS, max_size=2),
    st.dictionaries(st.text(max_size=4), SCALARS, max_size=2),
)
PLENTY = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PLENTY
@given(st.sampled_from([key for key in KEYS if key != "engine.extra"]), VALUES)
def test_any_value_is_read_or_refused_with_our_errors(tmp_path, key, value):
    try:
        made = read_text(tmp_path, changed(key, value))
    except EdgemtlError:
        return
    check_spec(made)
    describe_spec(made)


@PLENTY
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_any_file_is_refused_with_our_errors(tmp_path, content):
    with pytest.raises(ConfigError):
        read_text(tmp_path, content)


@PLENTY
@given(
    st.sampled_from([(8, 8), (16, 8), (16, 16), (32, 8), (32, 32), (64, 16), (64, 64), (96, 24), (96, 48), (96, 96)]),
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(16, 22),
)
def test_a_sum_within_the_part_is_taken_and_none_beyond(shape, softmax, vector, ring):
    rows, columns = shape
    zcu104 = read_spec("zcu104")
    held = {item.name: getattr(zcu104.engine.buffers, item.name) for item in fields(spec.Buffers)}
    made = with_engine(
        zcu104,
        buffers=spec.Buffers(**{name: replace(one, width_bytes=2 * columns) for name, one in held.items()}),
        array_rows=rows,
        array_columns=columns,
        weight_load_bytes_per_cycle=columns,
        softmax_lanes=softmax,
        vector_lanes=vector,
        weight_ring_bytes=2**ring,
    )
    has = resources.available(made.board.part)
    over = {name for name, need in needs(made).items() if need > has[name]}
    if not over:
        check_spec(made)
        return
    with pytest.raises(ResourceError) as caught:
        check_spec(made)
    assert set(caught.value.missing) == over
