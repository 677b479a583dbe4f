"""What an accelerator is built from: a board with its part, memory and CPU, and the engine's parameters on it.

It is data, read from a TOML file; what a user decides about a compilation is `edgemtl.options`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final

from edgemtl.errors import ConfigError, UsageError
from edgemtl.hw.board import Board, Cpu, Memory, MemoryTiming, Part, Ports, text, whole
from edgemtl.hw.geometry import CHAIN_ROWS, score_granules
from edgemtl.hw.isa import BY_NAME, LINE_BYTES
from edgemtl.hw.regions import capacities
from edgemtl.hw.resources import Row, check_sum, resource_sum
from edgemtl.records import Dialect, Field, check, leaves, one_of, read, shorten

__all__ = [
    "BOARDS",
    "AcceleratorSpec",
    "Board",
    "Buffer",
    "Buffers",
    "Cpu",
    "Engine",
    "Memory",
    "MemoryTiming",
    "Part",
    "Ports",
    "Row",
    "at_efficiency",
    "check_spec",
    "is_board",
    "read_board",
    "read_spec",
    "resource_sum",
]

BOARDS: Final = ("zcu104", "zcu104x2", "zcu104x2-sodimm", "zcu102", "kv260", "ultra96v2")
"""Boards that come with a file in hw/boards; the first is the default."""
FOLDER: Final = Path(__file__).parent / "boards"
MOST_FILE_BYTES: Final = 2**20
PAIR_MEMORIES: Final = ("residual", "hidden", "input", "scores", "queries", "side")
"""Memories that the array reads rows of."""
MOST_GRANULES: Final = BY_NAME["LINEAR"].places["src"][0].high + 1
"""That an address of a region tells apart."""
MOST_ROWS: Final = BY_NAME["LINEAR"].places["rows"][0].high
"""That an instruction of the matrix unit names."""
MOST_CHOICES: Final = BY_NAME["ROUTE"].places["k"][0].high
"""That an instruction of the router names."""
MOST_LINES: Final = BY_NAME["HEAD"].places["ring"][0].high
"""That a stream's weight ring has."""


class BoardDialect(Dialect):
    """Keys of tables, as messages about board files speak of them."""

    def describe_missing(self, field: Field, missing: Sequence[str], required: Sequence[str], must: str) -> str:
        path = f"{field.path}.{missing[0]}" if field.path else missing[0]
        return f"{field.document}: {path} must be {must}; it is missing"

    def describe_unknown(self, field: Field, name: str, names: Sequence[str]) -> str:
        keys = f"keys of [{field.path}]" if field.path else "the keys"
        return f"{field.document}: {keys} must be among {', '.join(names)}, not {shorten(name)}"


BOARD: Final = BoardDialect(separator=": ", group="a table", has_defaults=True)
TEXTS: Final = check(
    "a list of texts", lambda value: type(value) is list and {type(item) for item in value} <= {str}, tuple
)


@dataclass(frozen=True)
class Buffer:
    """A memory of the engine: ``copies`` of ``bytes`` each, read ``width_bytes`` a cycle; in BRAM, UltraRAM or LUT."""

    bytes: Annotated[int, whole(8, 2**32)]
    width_bytes: Annotated[int, whole(8, 4096)]
    copies: Annotated[int, whole(1, 8)]
    memory: Annotated[str, one_of("bram36", "uram288", "lut")]


@dataclass(frozen=True)
class Buffers:
    """Where activations live; the compiler fits a network into these or says what is missing.

    ``residual`` the int16 stream between layers; ``hidden`` keys and values, the MLP's hidden rows, sums of experts,
    and the rows of a convolution; ``input`` the int8 rows that a layer reads; ``scores`` the int16 scores of one block
    of queries, written ``array_columns`` of each head at once, or rows of an expert; ``queries`` such a block's queries
    and what attention makes of them, the router's logits, and rows of an expert that ``scores`` has no room for;
    ``constants`` small parameters, of LayerNorm and routers;
    ``side`` the class token, which would double every UltraRAM at 1,025 tokens.
    """

    residual: Buffer
    hidden: Buffer
    input: Buffer
    scores: Buffer
    queries: Buffer
    constants: Buffer
    side: Buffer


@dataclass(frozen=True)
class Engine:
    """The accelerator's parameters. ``clock_mhz`` is a target: only place and route on the part can confirm it.

    array_rows x array_columns is K x N of one weight tile; ``accumulator_rows`` the tokens of one block;
    ``weight_load_bytes_per_cycle`` the width of the weight ring; ``router_choices`` the most experts a token may go to;
    ``routing_entries`` the (token, expert) pairs that the router's queues hold, tokens times k; ``dsp_clock_ratio`` the
    cycles of the array's DSP blocks in a cycle of ``clock_mhz``, and the weight tiles that they work on at once.
    """

    # The segments that the adder tree has sums for: 1, 2, 4, 8 and 12 chains.
    array_rows: Annotated[int, one_of(8, 16, 32, 64, 96)]
    array_columns: Annotated[int, whole(2, 1024)]
    accumulator_rows: Annotated[int, whole(1, 65_536)]
    weight_load_bytes_per_cycle: Annotated[int, whole(8, 4096)]
    weight_ring_bytes: Annotated[int, whole(1024, 2**32)]
    weight_ring_memory: Annotated[str, one_of("bram36", "uram288")]
    softmax_lanes: Annotated[int, whole(1, 4096)]
    vector_lanes: Annotated[int, whole(1, 4096)]
    router_choices: Annotated[int, whole(1, MOST_CHOICES)]
    # A link of a queue has 16 bits.
    routing_entries: Annotated[int, whole(1, 65_536)]
    dma_ports: Annotated[int, whole(1, 64)]
    clock_mhz: Annotated[int, whole(1, 2000)]
    buffers: Buffers
    dsp_clock_ratio: Annotated[int, one_of(1, 2)] = 1

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-adds of a full array, in a cycle of ``clock_mhz``."""
        return self.array_rows * self.array_columns * self.dsp_clock_ratio

    @property
    def segments(self) -> int:
        """Chains of DSP blocks in a column."""
        return self.array_rows // CHAIN_ROWS


@dataclass(frozen=True)
class AcceleratorSpec:
    """An engine on a board. ``hypothetical``: no such board was ever made, and every report must say so.

    ``estimated`` names fields of the board, as "board.memory.sustained_bytes_per_s", that nobody published.
    """

    name: Annotated[str, text(40)]
    board: Board
    engine: Engine
    hypothetical: bool = False
    estimated: Annotated[tuple[str, ...], TEXTS] = ()

    @property
    def memory_rates(self) -> tuple[float, ...]:
        """Bytes a cycle that the engine gets of each memory: of the processing system's no more than the ports pass."""
        hertz, option = self.engine.clock_mhz * 1e6, self.board.option
        ports = self.engine.dma_ports * self.board.ports.data_bits / 8
        own = min(ports, self.board.memory.sustained_bytes_per_s / hertz)
        return (own,) if option is None else (own, option.sustained_bytes_per_s / hertz)

    @property
    def has_banks(self) -> bool:
        """Whether rows, banks and refresh of all memories can be simulated."""
        option = self.board.option
        return self.board.memory.timing is not None and (option is None or option.timing is not None)

    @property
    def sustained_bytes_per_cycle(self) -> float:
        """The same of all memories together."""
        return sum(self.memory_rates)


def at_efficiency(spec: AcceleratorSpec, percent: int) -> AcceleratorSpec:
    """The board with DRAM that sustains so many percent of its peak."""

    def sustaining(memory: Memory) -> Memory:
        return replace(memory, sustained_bytes_per_s=memory.peak_bytes_per_s * percent // 100)

    option = None if spec.board.option is None else sustaining(spec.board.option)
    return replace(spec, board=replace(spec.board, memory=sustaining(spec.board.memory), option=option))


def is_board(name: str) -> bool:
    """Whether ``name`` means a board: one of ours or a path of a TOML file."""
    return name in BOARDS or name.endswith(".toml")


def read_spec(source: str | Path) -> AcceleratorSpec:
    """The specification of a board of ours by name, or in a TOML file by path.

    Raises UsageError for a name that is neither, ConfigError for a file that breaks a rule, and ResourceError where
    the engine needs more than the part has.
    """
    name = str(source)
    if not is_board(name):
        raise UsageError(f"a board must be one of {', '.join(BOARDS)} or a path that ends in .toml, not {name!r}")
    path = FOLDER / f"{name}.toml" if name in BOARDS else Path(name)
    return read_board(Field(str(path), _parse(path), BOARD))


def read_board(field: Field) -> AcceleratorSpec:
    """The specification in a document, which messages call by the place of ``field``.

    Raises ConfigError where it breaks a rule, and ResourceError where the engine needs more than the part has.
    """
    field.entries()
    spec = read(AcceleratorSpec, field.as_document(BOARD))
    check_spec(spec, field.place)
    return spec


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
        if len(content) > MOST_FILE_BYTES:
            raise ConfigError(f"{path}: a board file must have at most {MOST_FILE_BYTES} bytes; it has more")
        return tomllib.loads(content.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: a board must be a readable TOML file; {error}") from error


def check_spec(spec: AcceleratorSpec, origin: str | None = None) -> None:
    """Raise ConfigError where numbers contradict each other, ResourceError where the part has too little.

    ``origin`` is what messages call the specification: its file, else its name.
    """
    origin = origin or spec.name
    for holds, key, rule, value in _rules(spec):
        if not holds:
            raise ConfigError(f"{origin}: {key} must be {rule}, not {shorten(value)}")
    check_sum(spec, origin)


def _rules(spec: AcceleratorSpec) -> Iterator[tuple[bool, str, str, object]]:
    """What single numbers cannot say: (does it hold, the key, what it must be, what it is)."""
    engine, memory, ports = spec.engine, spec.board.memory, spec.board.ports
    columns, load = engine.array_columns, engine.weight_load_bytes_per_cycle
    # The weights of one cycle, while those of the next are loaded.
    tile = engine.macs_per_cycle
    for name, each in (("memory", memory), ("option", spec.board.option)):
        if each is not None:
            sustained, peak = each.sustained_bytes_per_s, f"at most the peak, {each.peak_bytes_per_s}"
            yield sustained <= each.peak_bytes_per_s, f"board.{name}.sustained_bytes_per_s", peak, sustained
    yield columns % 2 == 0, "engine.array_columns", "even, since two columns share a DSP block", columns
    tiles = f"whole granules of engine.array_columns, {columns}, since a row's bytes are read in tiles of as many"
    yield engine.array_rows % columns == 0, "engine.array_rows", tiles, engine.array_rows
    rows = engine.accumulator_rows
    yield rows <= MOST_ROWS, "engine.accumulator_rows", f"at most {MOST_ROWS}, the rows of an instruction", rows
    whole_rows = f"whole rows of the array, {columns} bytes each, that divide its {engine.array_rows} rows"
    divides = load % columns == 0 and engine.array_rows % (load // columns or 1) == 0
    yield divides, "engine.weight_load_bytes_per_cycle", whole_rows, load
    swapped = f"at most a row for each of the array's {engine.segments} chains, {engine.segments * columns}"
    yield load <= engine.segments * columns, "engine.weight_load_bytes_per_cycle", swapped, load
    ring = engine.weight_ring_bytes
    least = f"at least {'two' if engine.dsp_clock_ratio == 1 else 'four'} weight tiles, {2 * tile} bytes"
    yield ring >= 2 * tile, "engine.weight_ring_bytes", least, ring
    yield ring % LINE_BYTES == 0, "engine.weight_ring_bytes", f"a multiple of {LINE_BYTES}, the bytes of a line", ring
    most = MOST_LINES * LINE_BYTES
    yield ring <= most, "engine.weight_ring_bytes", f"at most {MOST_LINES} lines of {LINE_BYTES} bytes, {most}", ring
    yield engine.dma_ports <= ports.hp, "engine.dma_ports", f"at most board.ports.hp, {ports.hp}", engine.dma_ports
    limit = f"at most board.ports.most_clock_mhz, {ports.most_clock_mhz}"
    yield engine.clock_mhz <= ports.most_clock_mhz, "engine.clock_mhz", limit, engine.clock_mhz
    yield from _buffer_rules(engine)
    known = [f"board.{key}" for key, _ in leaves(spec.board)]
    for key in spec.estimated:
        yield key in known, "estimated", f"made of keys of the board: {', '.join(known)}", key


def _buffer_rules(engine: Engine) -> Iterator[tuple[bool, str, str, object]]:
    """The same for the memories that instructions address."""
    columns = engine.array_columns
    for item in fields(engine.buffers):
        key, buffer = f"engine.buffers.{item.name}", getattr(engine.buffers, item.name)
        width = buffer.width_bytes
        yield width % 8 == 0, f"{key}.width_bytes", "a multiple of 8, the width of a block", width
        least = columns * (score_granules(engine) if item.name == "scores" else 1)
        lanes = f"whole granules of {columns} bytes, at least {least}, since each lane has one"
        yield width % columns == 0 and width >= least, f"{key}.width_bytes", lanes, width
        small = item.name == "side" or buffer.memory != "lut"
        yield small, f"{key}.memory", "bram36 or uram288: LUT memory is for side alone", buffer.memory
        yield buffer.bytes >= columns, f"{key}.bytes", f"at least one granule, {columns} bytes", buffer.bytes
    yield from _pair_rules(engine)
    copies = engine.buffers.scores.copies
    yield copies == 2, "engine.buffers.scores.copies", "2: softmax works on one while the array fills the other", copies
    reach = f"at most {MOST_GRANULES} granules of {columns} bytes, the reach of an address"
    for region, size in capacities(engine).items():
        granules = size // columns
        yield granules <= MOST_GRANULES, f"the region {region} of engine.buffers", reach, granules


def _pair_rules(engine: Engine) -> Iterator[tuple[bool, str, str, object]]:
    """Of memories that an array on two tiles reads: both tiles' bytes of a row in a cycle, of `input` by both ports."""
    if engine.dsp_clock_ratio == 1:
        return
    for name in PAIR_MEMORIES:
        least = engine.array_rows * (1 if name == "input" else 2)
        width = getattr(engine.buffers, name).width_bytes
        must = f"at least {least} where engine.dsp_clock_ratio is 2, since the array reads two tiles of a row at once"
        yield width >= least, f"engine.buffers.{name}.width_bytes", must, width
