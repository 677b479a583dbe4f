"""The instruction set of the accelerator: one table, from which encoder, decoder, documents and SystemVerilog follow.

An instruction is one word of 256 bits, little-endian. Its header says what it is, which units it waits for and which
it signals; operands follow from bit `OPERAND_BIT` on in the order of the table, and the bits behind them are 0. A
stream is a HEAD word, instructions, and an END. Each unit executes its own instructions in order; see
docs/accelerator.md for what each one does. Addresses on chip count granules, the bytes of one array row
(`array_columns`).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from edgemtl.errors import ConfigError, IntegrityError, UsageError

if TYPE_CHECKING:
    from edgemtl.hw.spec import Engine

WORD_BYTES: Final = 32
CODE_BITS: Final = 6
MASK_BITS: Final = 6
OPERAND_BIT: Final = CODE_BITS + 2 * MASK_BITS
MAGIC: Final = 0x4C544D45  # "EMTL"
VERSION: Final = 1
LINE_BYTES: Final = 64
"""The unit of weight addresses, of the weight ring's offsets and of memory addresses: a burst is a multiple of it."""

UNITS: Final = ("weights", "data", "matrix", "softmax", "vector", "router")
"""Units in the order of their bits in wait and signal masks; the sequencer takes HEAD and END itself."""
SEQUENCER: Final = "sequencer"

REGIONS: Final = ("residual", "hidden", "input", "scores0", "scores1", "queries", "constants")
"""Memories on chip by the number an address names them with."""
WINDOWS: Final = ("parameters", "input", "output", "scratch")
"""Parts of the board's memory by the number LOAD and STORE name them with; STREAM reads parameters."""


@dataclass(frozen=True)
class Field:
    """An operand of ``bits`` bits; two's complement where ``signed``."""

    name: str
    bits: int
    what: str
    signed: bool = False

    @property
    def low(self) -> int:
        """The least value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest value."""
        return (1 << (self.bits - self.signed)) - 1


@dataclass(frozen=True)
class Operation:
    """A kind of instruction: its code, the unit that executes it and its operands from the lowest bit up."""

    name: str
    code: int
    unit: str
    what: str
    fields: tuple[Field, ...]

    @cached_property
    def places(self) -> Mapping[str, tuple[Field, int]]:
        """Every field with its lowest bit in the word."""
        bits, made = OPERAND_BIT, {}
        for field in self.fields:
            made[field.name] = (field, bits)
            bits += field.bits
        return MappingProxyType(made)

    @property
    def bits(self) -> int:
        """Bits of the word in use."""
        return OPERAND_BIT + sum(field.bits for field in self.fields)


def _place(name: str, what: str) -> tuple[Field, Field]:
    return Field(f"{name}_region", 3, f"memory of {what}"), Field(name, 17, f"first granule of {what}")


def _stride(name: str, what: str) -> Field:
    return Field(name, 12, f"granules from one {what} to the next")


_ROWS: Final = Field("rows", 11, "rows")
_SLOT: Final = Field("slot", 14, "0, or 1 + the entry of the router's list that this belongs to")
_CACHED: Final = Field("cached", 1, "the entry's place in the cache is meant, not the ring")
_SKIP: Final = Field("skip", 13, "places of the expert's queue before the first one taken")
_RING: Final = (
    Field("offset", 17, "lines from the head of the weight ring to the first one read"),
    Field("release", 17, "lines that leave the head of the ring when this ends"),
)
_FINISH: Final = (
    Field("wide", 1, "results are 16 bits"),
    Field("table", 1, "bytes are looked up; the table comes first in the ring"),
    Field("zero", 8, "added to a byte", signed=True),
    Field("low", 8, "least byte", signed=True),
)
_MUL: Final = Field("mul", 17, "multiplier")
_SHIFT: Final = Field("shift", 6, "shift")

HEAD: Final = Operation(
    "HEAD",
    1,
    SEQUENCER,
    "begins a stream and says what it is",
    (
        Field("magic", 32, f"{MAGIC:#x}"),
        Field("version", 8, f"version of this table, {VERSION}"),
        Field("words", 24, "words of the stream, HEAD and END included"),
        Field("crc", 32, "CRC-32 (IEEE 802.3) of the whole stream with 0 in this place"),
        Field("ring", 17, "lines of the weight ring, at least 1; the rest of its memory is the cache of experts"),
        Field("engine", 64, "digest of the engine the stream is for"),
    ),
)
END: Final = Operation("END", 2, SEQUENCER, "ends a stream: the task is done when every unit is", ())

OPERATIONS: Final = (
    HEAD,
    END,
    Operation(
        "STREAM",
        3,
        "weights",
        "reads weights from memory into the ring; of the expert a slot names, or nothing where it names none",
        (
            Field("address", 32, "first line in the window `parameters`"),
            Field("lines", 20, "lines"),
            _SLOT,
            Field("stride", 20, "lines from one expert to the next"),
            _CACHED,
        ),
    ),
    Operation(
        "LOAD",
        4,
        "data",
        "copies rows from memory",
        (
            Field("window", 2, "part of the memory"),
            Field("address", 32, "first line in it"),
            Field("step", 20, "lines from one row to the next in memory"),
            *_place("dst", "the rows"),
            _stride("stride", "row"),
            _ROWS,
            Field("size", 14, "granules of a row"),
        ),
    ),
    Operation(
        "STORE",
        5,
        "data",
        "copies rows to memory",
        (
            Field("window", 2, "part of the memory"),
            Field("address", 32, "first line in it"),
            Field("step", 20, "lines from one row to the next in memory"),
            *_place("src", "the rows"),
            _stride("stride", "row"),
            _ROWS,
            Field("size", 14, "granules of a row"),
        ),
    ),
    Operation(
        "LINEAR",
        6,
        "matrix",
        "rows times weights of the ring, finished; with a slot, rows of that expert's queue",
        (
            *_place("src", "the rows read"),
            _stride("src_stride", "row"),
            _ROWS,
            Field("k", 13, "bytes of a row"),
            Field("n", 13, "columns"),
            *_place("dst", "the rows written"),
            _stride("dst_stride", "row"),
            Field("dst_tile", 17, "granules from one tile of columns to the next"),
            *_RING,
            *_FINISH,
            Field("residual", 1, "16-bit results are added to what `add` holds"),
            *_place("add", "the residual, laid out as the rows written"),
            _SLOT,
            _CACHED,
            _SKIP,
            Field("gather", 1, "rows are read through the queue: row t of `src` for token t"),
        ),
    ),
    Operation(
        "CONV",
        7,
        "matrix",
        "a 3 x 3 convolution of stride 1 that pads by 1, over whole rows of an image, finished",
        (
            *_place("src", "the image's rows"),
            Field("wrap", 11, "rows the source holds: row y lies at y modulo this"),
            Field("width", 11, "pixels of a row"),
            Field("height", 11, "rows of the image"),
            Field("first", 11, "first row made"),
            Field("rows", 6, "rows made"),
            Field("k", 13, "channels read"),
            Field("n", 13, "channels made"),
            _stride("src_stride", "pixel"),
            *_place("dst", "the pixels made"),
            _stride("dst_stride", "pixel"),
            Field("pad", 8, "the byte outside the image", signed=True),
            *_RING,
            *_FINISH,
        ),
    ),
    Operation(
        "SCORES",
        8,
        "matrix",
        "queries times keys: 16-bit scores of each of `heads` heads, and the largest of each row",
        (
            *_place("src", "the queries"),
            _stride("src_stride", "query"),
            _ROWS,
            Field("k", 13, "bytes of a query: channels of all heads here"),
            Field("heads", 2, "heads computed at once, each in its own part of the array's rows"),
            *_place("keys", "the keys"),
            _stride("keys_stride", "key"),
            Field("count", 14, "keys"),
            *_place("dst", "the scores: row r of head h is row r * heads + h"),
            _stride("dst_stride", "row of scores"),
            _SHIFT,
        ),
    ),
    Operation(
        "MIX",
        9,
        "matrix",
        "weights of attention times values, divided by the sum of the weights",
        (
            *_place("src", "the weights of the head's first row"),
            _stride("src_stride", "row of weights of one query"),
            Field("heads", 2, "heads side by side in the score rows"),
            Field("head", 2, "which of them"),
            _ROWS,
            *_place("values", "the values"),
            _stride("values_stride", "key"),
            Field("values_tile", 17, "granules from one tile of channels to the next"),
            Field("count", 14, "keys"),
            Field("n", 13, "channels of the head"),
            *_place("dst", "the rows written"),
            _stride("dst_stride", "row"),
            _MUL,
            _SHIFT,
        ),
    ),
    Operation(
        "SOFTMAX",
        10,
        "softmax",
        "scores to weights in place: 16 bits to 8, and the reciprocal of each row's sum",
        (
            *_place("src", "the scores"),
            _stride("stride", "row"),
            Field("rows", 13, "rows of scores"),
            Field("count", 14, "keys"),
        ),
    ),
    Operation(
        "NORM",
        11,
        "vector",
        "LayerNorm of 16-bit rows to bytes",
        (
            *_place("src", "the rows read"),
            _stride("src_stride", "row"),
            *_place("dst", "the rows written"),
            _stride("dst_stride", "row"),
            _ROWS,
            Field("width", 11, "channels"),
            Field("epsilon", 48, "added to the squared deviations"),
            _MUL,
            _SHIFT,
            Field("parameters", 1, "halvings and offsets are read, all halvings first; else both are 0"),
            *_place("from", "halvings, then offsets"),
        ),
    ),
    Operation(
        "OPEN",
        12,
        "vector",
        "makes 16-bit rows sums of 32 bits: value * 2^15 + 2^14, upper half in place, lower half apart",
        (
            *_place("high", "the rows"),
            *_place("low", "the lower halves"),
            _stride("stride", "row of either"),
            _ROWS,
            Field("width", 13, "channels"),
        ),
    ),
    Operation(
        "COMBINE",
        13,
        "vector",
        "adds an expert's rows, each times its weight, to the sums of their tokens",
        (
            *_place("src", "the expert's rows, 16 bits"),
            _stride("src_stride", "row"),
            _ROWS,
            _SLOT,
            _SKIP,
            Field("width", 13, "channels"),
            *_place("high", "the sums' upper halves, of token 0"),
            *_place("low", "the sums' lower halves"),
            _stride("stride", "row of either"),
        ),
    ),
    Operation(
        "SETTLE",
        14,
        "vector",
        "makes sums of 32 bits rows of 16: sum / 2^15, floored and saturated",
        (
            *_place("high", "the rows"),
            *_place("low", "the lower halves"),
            _stride("stride", "row of either"),
            _ROWS,
            Field("width", 13, "channels"),
        ),
    ),
    Operation(
        "ENLARGE",
        15,
        "vector",
        "rows of an image of twice the size, bilinear",
        (
            *_place("src", "the image's rows"),
            Field("src_wrap", 11, "rows the source holds"),
            Field("width", 11, "pixels of a source row"),
            Field("height", 11, "rows of the source"),
            _stride("stride", "pixel of either"),
            Field("first", 11, "first row made"),
            Field("rows", 6, "rows made"),
            *_place("dst", "the rows made"),
            Field("dst_wrap", 11, "rows the target holds"),
        ),
    ),
    Operation(
        "ROUTE",
        16,
        "router",
        "the k experts of each token, their weights, and the queues of the experts",
        (
            *_place("src", "the logits of the first token, 16 bits"),
            _stride("src_stride", "token"),
            Field("token", 13, "first token"),
            _ROWS,
            Field("experts", 9, "experts that have a logit"),
            Field("k", 4, "experts a token"),
            Field("normalize", 1, "weights are shares among the chosen ones"),
            Field("threshold", 16, "weights below are 0"),
            *_place("from", "a bit an expert, 32 bytes: may it be chosen; then the numbers of those fetched early"),
            Field("cache", 9, "0 for a list in order of experts; else one in order of tokens, for a cache of so many"),
            Field("lines", 17, "lines of a place in the cache"),
            Field("early", 9, "experts fetched before the router has decided: the first of the list"),
            Field("begin", 1, "empties the queues first"),
            Field("end", 1, "makes the list when done"),
        ),
    ),
)
BY_NAME: Final[Mapping[str, Operation]] = MappingProxyType({made.name: made for made in OPERATIONS})
BY_CODE: Final[Mapping[int, Operation]] = MappingProxyType({made.code: made for made in OPERATIONS})


@dataclass(frozen=True)
class Instruction:
    """One instruction. ``waits`` and ``signals`` name units: a token is taken from each, one is given to each."""

    name: str
    operands: Mapping[str, int]
    waits: frozenset[str] = frozenset()
    signals: frozenset[str] = frozenset()

    @property
    def operation(self) -> Operation:
        """The table's entry."""
        return BY_NAME[self.name]

    @property
    def unit(self) -> str:
        """The unit that executes it."""
        return self.operation.unit

    def __getitem__(self, field: str) -> int:
        return self.operands[field]


def engine_digest(engine: Engine) -> int:
    """64 bits that differ between engines a stream cannot be moved between: of every parameter but the clock."""
    held = {key: value for key, value in asdict(engine).items() if key != "clock_mhz"}
    return int.from_bytes(hashlib.sha256(json.dumps(held, sort_keys=True).encode()).digest()[:8], "little")


def encode(instruction: Instruction) -> bytes:
    """The word. Raises ConfigError for an operand out of its range, missing or unknown, and for an unknown name."""
    operation = BY_NAME.get(instruction.name)
    if operation is None:
        raise ConfigError(f"an instruction must be one of {', '.join(BY_NAME)}, not {instruction.name!r}")
    if instruction.operands.keys() != operation.places.keys():
        wanted, given = ", ".join(operation.places), ", ".join(instruction.operands)
        raise ConfigError(f"{operation.name} must have the operands {wanted or 'none'}, not {given or 'none'}")
    word = operation.code
    word |= _mask(instruction.waits, operation) << CODE_BITS
    word |= _mask(instruction.signals, operation) << (CODE_BITS + MASK_BITS)
    for name, (field, bit) in operation.places.items():
        # NumPy's integers would wrap where they are shifted.
        value = index(instruction.operands[name])
        if not field.low <= value <= field.high:
            raise ConfigError(f"{operation.name}.{name} must be in {field.low}..{field.high}, not {value}")
        word |= (value & ((1 << field.bits) - 1)) << bit
    return word.to_bytes(WORD_BYTES, "little")


def _mask(units: frozenset[str], operation: Operation) -> int:
    if units and operation.unit == SEQUENCER:
        raise ConfigError(f"{operation.name} must neither wait nor signal: the sequencer takes it")
    if unknown := sorted(units.difference(UNITS)):
        raise ConfigError(f"{operation.name} must wait for and signal {', '.join(UNITS)}, not {', '.join(unknown)}")
    return sum(1 << UNITS.index(unit) for unit in units)


def decode(word: bytes, offset: int = 0) -> Instruction:
    """The instruction of 32 bytes; ``offset`` is where they stand, for the message.

    Raises IntegrityError for a code that is none, for bits that must be 0, and for a sequencer's word with masks.
    """
    if len(word) != WORD_BYTES:
        raise IntegrityError(f"byte {offset}: an instruction must have {WORD_BYTES} bytes, not {len(word)}")
    value = int.from_bytes(word, "little")
    operation = BY_CODE.get(value & ((1 << CODE_BITS) - 1))
    if operation is None:
        raise IntegrityError(f"byte {offset}: code {value & 63} must be that of an instruction, and is none")
    if value >> operation.bits:
        raise IntegrityError(f"byte {offset}: bits from {operation.bits} on of {operation.name} must be 0, and are not")
    waits = _units(value >> CODE_BITS)
    signals = _units(value >> (CODE_BITS + MASK_BITS))
    if operation.unit == SEQUENCER and (waits or signals):
        raise IntegrityError(f"byte {offset}: {operation.name} must neither wait nor signal")
    operands = {name: _extract(value, field, bit) for name, (field, bit) in operation.places.items()}
    return Instruction(operation.name, MappingProxyType(operands), waits, signals)


def _units(mask: int) -> frozenset[str]:
    return frozenset(unit for bit, unit in enumerate(UNITS) if mask >> bit & 1)


def _extract(word: int, field: Field, bit: int) -> int:
    raw = word >> bit & ((1 << field.bits) - 1)
    return raw - (1 << field.bits) if field.signed and raw > field.high else raw


def encode_stream(instructions: Sequence[Instruction], engine: Engine, ring_lines: int) -> bytes:
    """HEAD, ``instructions`` and END.

    Raises what `encode` raises, and ConfigError for a ring of no lines or of more than the weight memory has.
    """
    most = _memory_lines(engine)
    if not 1 <= ring_lines <= most:
        raise ConfigError(f"HEAD.ring must be in 1..{most}, lines of the weight memory, not {ring_lines}")
    body = b"".join(map(encode, (*instructions, Instruction("END", {}))))
    head = {
        "magic": MAGIC,
        "version": VERSION,
        "words": len(body) // WORD_BYTES + 1,
        "crc": 0,
        "ring": ring_lines,
        "engine": engine_digest(engine),
    }
    return encode(Instruction("HEAD", head | {"crc": _checksum(head, body)})) + body


def _memory_lines(engine: Engine) -> int:
    """Lines of the weight memory, the most that a ring has."""
    return engine.weight_ring_bytes // LINE_BYTES


def _checksum(head: Mapping[str, int], body: bytes) -> int:
    """CRC-32 of the stream; the operands of its HEAD count too, but for the CRC itself."""
    return zlib.crc32(encode(Instruction("HEAD", {**head, "crc": 0})) + body)


@dataclass(frozen=True)
class Stream:
    """A decoded stream: the lines its weight ring has, and the instructions between HEAD and END."""

    ring_lines: int
    instructions: tuple[Instruction, ...]


def decode_stream(stream: bytes, engine: Engine) -> Stream:
    """The stream that ``stream`` holds.

    Raises IntegrityError for a stream that is not whole, holds an illegal word or has a ring that the weight memory
    does not hold, with the byte, and UsageError for one made for another engine.
    """
    head = decode(stream[:WORD_BYTES])
    if head.name != "HEAD":
        raise IntegrityError(f"byte 0: a stream must begin with HEAD, not {head.name}")
    words, rest = divmod(len(stream), WORD_BYTES)
    if rest:
        raise IntegrityError(f"byte {words * WORD_BYTES}: an instruction must have {WORD_BYTES} bytes, not {rest}")
    crc = _checksum(head.operands, stream[WORD_BYTES:])
    for name, value in {"magic": MAGIC, "version": VERSION, "words": words, "crc": crc}.items():
        if head[name] != value:
            raise IntegrityError(f"byte 0: {name} of the stream must be {value}, not {head[name]}; compile it again")
    if head["engine"] != engine_digest(engine):
        raise UsageError(
            f"the stream must be for this engine, {engine_digest(engine):016x}, not {head['engine']:016x}; "
            "compile it for this board"
        )
    most = _memory_lines(engine)
    if not 1 <= head["ring"] <= most:
        why = f"must be in 1..{most}, lines of the weight memory, not {head['ring']}"
        raise IntegrityError(f"byte 0: ring of the stream {why}; compile it again")
    offsets = range(WORD_BYTES, len(stream), WORD_BYTES)
    body = [decode(stream[at : at + WORD_BYTES], at) for at in offsets]
    if not body or body[-1].name != "END":
        raise IntegrityError(f"byte {len(stream) - WORD_BYTES}: a stream must end with END")
    for at, made in zip(offsets[:-1], body[:-1], strict=True):
        if made.unit == SEQUENCER:
            raise IntegrityError(f"byte {at}: {made.name} must stand at an end of the stream, not inside")
    return Stream(head["ring"], tuple(body[:-1]))


def disassemble(instruction: Instruction) -> str:
    """One line: the name, every operand by name, then what it waits for and signals."""
    operands = " ".join(_shown(instruction))
    waits = "".join(f" <{unit}" for unit in UNITS if unit in instruction.waits)
    signals = "".join(f" >{unit}" for unit in UNITS if unit in instruction.signals)
    return f"{instruction.name:8}{operands}{waits}{signals}".rstrip()


def _shown(instruction: Instruction) -> list[str]:
    """Operands as people read them: an address with its memory's name."""
    shown = []
    for name, value in instruction.operands.items():
        if name.endswith("_region"):
            continue
        region = instruction.operands.get(f"{name}_region")
        named = f"{REGIONS[region]}:" if region is not None and region < len(REGIONS) else ""
        shown.append(f"{name}={named}{value}")
    return shown
