"""Instruction streams of a board: decoded and disassembled, run in the functional and in the cycle simulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from edgemtl.bundle import Segment, open_bundle
from edgemtl.errors import IntegrityError
from edgemtl.hw.checker import check_stream
from edgemtl.hw.encoding import Stream, decode_stream, disassemble, encode_stream
from edgemtl.hw.isa import BY_NAME, SEQUENCER, UNITS, WINDOWS, Instruction
from edgemtl.hw.sim.cycle import Frame, simulate
from edgemtl.hw.sim.functional import Windows, execute
from edgemtl.hw.spec import AcceleratorSpec, Engine
from tests.fuzz import materials
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import change_bytes

NAMES = [operation.name for operation in BY_NAME.values() if operation.unit != SEQUENCER]
TOKENS = 48
"""More than the model has, so that routes are drawn for each."""


def draw_units(rng: Random, chance: float) -> frozenset[str]:
    """Some units to wait for or to signal."""
    return frozenset(unit for unit in UNITS if rng.random() < chance)


def draw_instruction(rng: Random) -> Instruction:
    """An instruction whose operands are in the ranges of their fields and otherwise mean nothing."""
    name, operands = rng.choice(NAMES), {}
    for operand, (field, _) in BY_NAME[name].places.items():
        values = (field.low, field.high, rng.randint(field.low, field.high), min(field.high, rng.randint(0, 300)))
        known = field.allowed or (range(field.high + 1) if operand == "window" else ())
        operands[operand] = rng.choice(known) if known else max(field.low, rng.choice(values))
    return Instruction(name, operands, draw_units(rng, 0.05), draw_units(rng, 0.05))


def change_instruction(old: Instruction, rng: Random) -> Instruction:
    """An operand moved, credits other than needed, or another instruction altogether."""
    chance = rng.random()
    if chance < 0.7 and old.operands:
        operand = rng.choice([*old.operands])
        field = BY_NAME[old.name].places[operand][0]
        near = old.operands[operand] + rng.choice((-1, 1))
        value = rng.choice(field.allowed or (field.low, field.high, rng.randint(field.low, field.high), near))
        changed = {**old.operands, operand: min(max(value, field.low), field.high)}
        return Instruction(old.name, changed, old.waits, old.signals)
    if chance < 0.85:
        return draw_instruction(rng)
    return Instruction(old.name, old.operands, frozenset(), draw_units(rng, 0.2))


def windows_of(segment: Segment, parameters: int) -> dict[str, int]:
    """Bytes of the windows of DRAM."""
    return {"parameters": parameters, **{name: getattr(segment.windows, name) for name in WINDOWS[1:]}}


def refusal(stream: Stream, engine: Engine, windows: dict[str, int]) -> str:
    """Why hardware must not run a stream; empty where it may."""
    try:
        check_stream(stream, engine, windows)
    except IntegrityError as error:
        return str(error)
    return ""


def time_it(frame: Frame, board: AcceleratorSpec, refused: str) -> None:
    """Simulate a frame, which must not stand still where the checker has not ``refused`` it."""
    try:
        simulate([frame], board)
    except IntegrityError as error:
        if not refused and "stand still" in str(error):
            raise AssertionError("a stream that the checker accepts must run to its END") from error
        raise


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed stream of the board's bundle, in one of the three readers of streams."""
    bundle = open_bundle(materials.folder(folder.parent / "materials") / materials.BOARD)
    program = bundle.manifest.program
    segment = next(iter(program.tasks.values())).segments[0]
    engine, weights, original = program.board.engine, bundle.weights(), bytes(bundle.section(segment.stream))
    stream = decode_stream(original, engine)
    sizes = [max(1, size) for size in (segment.windows.input, segment.windows.output, segment.windows.scratch)]

    def changed(rng: Random) -> bytes:
        if rng.random() < 0.2:
            return change_bytes(original, rng)
        if rng.random() < 0.3:
            drawn = [draw_instruction(rng) for _ in range(rng.choice((1, 1, 2, 5, 50)))]
            return encode_stream(drawn, engine, stream.ring_lines)
        count = rng.randint(1, min(len(stream.instructions), rng.choice((1, 5, 20, 1 << 20))))
        instructions = [*stream.instructions[:count]]
        for at in (rng.randrange(count) for _ in range(rng.choice((1, 1, 2, 4)))):
            instructions[at] = change_instruction(instructions[at], rng)
        return encode_stream(instructions, engine, stream.ring_lines)

    def act(seed: int) -> str:
        rng = Random(seed)
        data = changed(rng)
        match seed % 3:
            case 0:
                return f"{sum(len(disassemble(i)) for i in decode_stream(data, engine).instructions)} letters"
            case 1:
                windows = Windows(weights.copy(), *(np.zeros(size, np.uint8) for size in sizes))
                execute(data, program.board, windows, check_hazards=seed % 2 == 0)
                return "executed"
            case _:
                decoded = decode_stream(data, engine)
                layers = sum(i.name == "ROUTE" and bool(i.operands.get("end")) for i in decoded.instructions)
                routes = tuple(
                    np.array([[rng.randrange(5) for _ in "ab"] for _ in range(TOKENS)]) for _ in range(layers)
                )
                frame = Frame(decoded, routes, tuple(() for _ in range(layers)))
                time_it(frame, program.board, refusal(decoded, engine, windows_of(segment, len(weights))))
                return "timed"

    return act


SURFACE = Surface("instruction streams, three readers", prepare)
