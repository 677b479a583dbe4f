"""Instructions and streams as bytes, and back; what cannot be encoded or decoded is refused with its place.

Streams are not trusted: code, unused bits and checksum of every instruction are checked before anything uses it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgemtl.errors import ConfigError, IntegrityError, UsageError
from edgemtl.hw.isa import (
    BY_CODE,
    BY_NAME,
    INSTRUCTION_BYTES,
    LINE_BYTES,
    MAGIC,
    REGIONS,
    SEQUENCER,
    UNITS,
    VERSION,
    Instruction,
)
from edgemtl.hw.operands import CODE_BITS, MASK_BITS, Field, Operation
from edgemtl.hw.rules import order_violation, violation

if TYPE_CHECKING:
    from edgemtl.hw.spec import Engine


def engine_digest(engine: Engine) -> int:
    """64 bits that differ between engines a stream cannot be moved between: of every parameter but the clock.

    An engine with one clock has those of its other parameters, so streams from before the ratio remain its own.
    """
    left_out = {"clock_mhz"} if engine.dsp_clock_ratio > 1 else {"clock_mhz", "dsp_clock_ratio"}
    fields = {key: value for key, value in asdict(engine).items() if key not in left_out}
    return int.from_bytes(hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()[:8], "little")


def encode(instruction: Instruction) -> bytes:
    """The word. Raises ConfigError for an operand out of its range, missing or unknown, and for an unknown name."""
    operation = BY_NAME.get(instruction.name)
    if operation is None:
        raise ConfigError(f"an instruction must be one of {', '.join(BY_NAME)}, not {instruction.name!r}")
    if instruction.operands.keys() != operation.places.keys():
        expected, given = ", ".join(operation.places), ", ".join(instruction.operands)
        raise ConfigError(f"{operation.name} must have the operands {expected or 'none'}, not {given or 'none'}")
    word = operation.code
    word |= _mask(instruction.waits, operation) << CODE_BITS
    word |= _mask(instruction.signals, operation) << (CODE_BITS + MASK_BITS)
    for name, (field, bit) in operation.places.items():
        # NumPy's integers would wrap where they are shifted.
        value = index(instruction.operands[name])
        if not field.low <= value <= field.high:
            raise ConfigError(f"{operation.name}.{name} must be in {field.low}..{field.high}, not {value}")
        if field.allowed and value not in field.allowed:
            raise ConfigError(f"{operation.name}.{name} must be {named_values(field)}, not {value}")
        word |= (value & ((1 << field.bits) - 1)) << bit
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def named_values(field: Field) -> str:
    """The values that an operand may have, as messages and documents name them; regions by their names too."""
    of_region = field.name.endswith("_region")
    return " or ".join(f"{value} {REGIONS[value]}" if of_region else str(value) for value in field.allowed)


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
    if len(word) != INSTRUCTION_BYTES:
        raise IntegrityError(f"byte {offset}: an instruction must have {INSTRUCTION_BYTES} bytes, not {len(word)}")
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
    for name, (field, _) in operation.places.items():
        if field.allowed and operands[name] not in field.allowed:
            must = f"must be {named_values(field)}, not {operands[name]}"
            raise IntegrityError(f"byte {offset}: {operation.name}.{name} {must}; compile the stream again")
    return Instruction(operation.name, MappingProxyType(operands), waits, signals)


def _units(mask: int) -> frozenset[str]:
    return frozenset(unit for bit, unit in enumerate(UNITS) if mask >> bit & 1)


def _extract(word: int, field: Field, bit: int) -> int:
    raw = word >> bit & ((1 << field.bits) - 1)
    return raw - (1 << field.bits) if field.signed and raw > field.high else raw


def check_instruction(instruction: Instruction, engine: Engine) -> bytes:
    """The word. Raises what `encode` raises, and ConfigError for an instruction that breaks a rule of the engine."""
    word = encode(instruction)
    if why := violation(instruction, engine):
        raise ConfigError(why)
    return word


def encode_stream(instructions: Sequence[Instruction], engine: Engine, ring_lines: int) -> bytes:
    """HEAD, ``instructions`` and END.

    Raises what `check_instruction` raises, and ConfigError for a queue that is walked back and for a ring of no lines
    or of more than the memory has.
    """
    most = _memory_lines(engine)
    if not 1 <= ring_lines <= most:
        raise ConfigError(f"HEAD.ring must be in 1..{most}, lines of the weight memory, not {ring_lines}")
    if walk := order_violation(instructions):
        raise ConfigError(f"instruction {walk[0]}: {walk[1]}")
    body = b"".join(check_instruction(instruction, engine) for instruction in instructions)
    body += encode(Instruction("END", {}))
    head = {
        "magic": MAGIC,
        "version": VERSION,
        "words": len(body) // INSTRUCTION_BYTES + 1,
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
    head = decode(stream[:INSTRUCTION_BYTES])
    if head.name != "HEAD":
        raise IntegrityError(f"byte 0: a stream must begin with HEAD, not {head.name}")
    words, rest = divmod(len(stream), INSTRUCTION_BYTES)
    if rest:
        raise IntegrityError(
            f"byte {words * INSTRUCTION_BYTES}: an instruction must have {INSTRUCTION_BYTES} bytes, not {rest}"
        )
    crc = _checksum(head.operands, stream[INSTRUCTION_BYTES:])
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
    offsets = range(INSTRUCTION_BYTES, len(stream), INSTRUCTION_BYTES)
    body = [decode(stream[at : at + INSTRUCTION_BYTES], at) for at in offsets]
    if not body or body[-1].name != "END":
        raise IntegrityError(f"byte {len(stream) - INSTRUCTION_BYTES}: a stream must end with END")
    for at, instruction in zip(offsets[:-1], body[:-1], strict=True):
        if instruction.unit == SEQUENCER:
            raise IntegrityError(f"byte {at}: {instruction.name} must stand at an end of the stream, not inside")
        if why := violation(instruction, engine):
            raise IntegrityError(f"byte {at}: {why}; compile the stream again")
    if walk := order_violation(body):
        raise IntegrityError(f"byte {offsets[walk[0]]}: {walk[1]}; compile the stream again")
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
