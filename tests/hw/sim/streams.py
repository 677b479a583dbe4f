"""Small streams for the simulators' tests: words by name with what matters, all else 0, through encoder and decoder."""

from dataclasses import replace
from functools import cache

import numpy as np

from edgemtl.hw import encoding, isa
from edgemtl.hw.sim.cycle import Frame
from edgemtl.hw.spec import AcceleratorSpec, read_spec

MEGAHERTZ = 300


@cache
def default_board() -> AcceleratorSpec:
    """The default board."""
    return read_spec("zcu104")


def make_spec(rate: float = 64, **changes) -> AcceleratorSpec:
    """The default board with a memory of ``rate`` bytes a cycle, 32 bytes of weights a cycle into the array."""
    made = default_board()
    memory = replace(made.board.memory, sustained_bytes_per_s=round(rate * MEGAHERTZ * 1e6))
    ports = replace(made.board.ports, data_bits=128)
    changes = {"clock_mhz": MEGAHERTZ, "dma_ports": 4, "weight_load_bytes_per_cycle": 32} | changes
    board = replace(made.board, memory=memory, ports=ports)
    return replace(made, board=board, engine=replace(made.engine, **changes))


def word(name: str, waits: str = "", signals: str = "", **operands: int) -> isa.Instruction:
    """A word; units are named apart by spaces."""
    zeros = {field.name: field.allowed[0] if field.allowed else 0 for field in isa.BY_NAME[name].fields}
    return isa.Instruction(name, zeros | operands, frozenset(waits.split()), frozenset(signals.split()))


def image(height: int, width: int, kernel: tuple[int, int] = (3, 3), **geometry: int) -> dict[str, int]:
    """Operands of a CONV over a whole image on chip, padded to keep its size where it has no stride."""
    sides = {"height": height, "wrap": height, "width": width, "out_width": width}
    pads = {"top": kernel[0] // 2, "left": kernel[1] // 2}
    taps = {"kernel_height": kernel[0], "kernel_width": kernel[1], "stride": 1, "dilation": 1}
    return sides | pads | taps | geometry


def make_frame(words, spec: AcceleratorSpec, ring: int = 0, routes=(), early=()) -> Frame:
    """A frame of those words as if decoded, without its rules; the ring as large as the engine's if not given."""
    lines = ring or spec.engine.weight_ring_bytes // isa.LINE_BYTES
    stream = encoding.Stream(lines, tuple(words))
    return Frame(stream, tuple(np.array(route, np.int32) for route in routes), tuple(early))


def lines_of(k: int, n: int, spec: AcceleratorSpec, table: int = 0) -> int:
    """Lines that the weights of a LINEAR fill."""
    columns = -(-n // spec.engine.array_columns)
    size = 256 * table + columns * spec.engine.array_columns * (8 + k)
    return -(-size // isa.LINE_BYTES)


def layer(spec: AcceleratorSpec, waits: str = "", signals: str = "", **operands: int) -> list[isa.Instruction]:
    """STREAM and LINEAR, which releases what it read."""
    shape = {"rows": 129, "k": 192, "n": 192} | operands
    lines = lines_of(shape["k"], shape["n"], spec, shape.get("table", 0))
    slot = {name: shape[name] for name in ("slot", "cached") if name in shape}
    stream = word("STREAM", lines=lines, **slot)
    return [stream, word("LINEAR", waits, signals, **{"release": lines} | shape)]
