"""`.npy` files with bytes or headers changed, read as a model's input."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np

from edgemtl.images import read_array
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import change_bytes

MAGIC = b"\x93NUMPY"
TYPES = ("<f4", ">f4", "<f8", "|O", "|u1", "<i8", "|V8", "<U10", "<M8[s]", "<f4,<f4", "", "x", "|S" + "9" * 12)
SHAPES = ("(1, 3, 8, 8)", "()", "(0,)", "(-1,)", "(1 << 40,)", f"({2**62},)", "(2**31, 2**31)", "8", "None", "(1.5,)")
HEADERS = (
    "{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}",
    "{{",
    "[" * 500,
    "{{'descr': '<f4'}}",
    "a",
)


def change_header(rng: Random) -> bytes:
    """A file whose header says what its bytes are not, or is no header."""
    text = rng.choice(HEADERS[:1] * 8 + HEADERS[1:])
    header = text.format(descr=rng.choice(TYPES), order=rng.choice(("True", "False", "2")), shape=rng.choice(SHAPES))
    length = rng.choice((len(header), len(header), 0, 0xFFFF))
    version = rng.choice((1, 1, 1, 2, 3, 9))
    size = length.to_bytes(2 if version == 1 else 4, "little")
    return MAGIC + bytes((version, 0)) + size + header.encode() + bytes(rng.choice((0, 768, 4096)))


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed array."""
    stored = BytesIO()
    np.save(stored, np.zeros((1, 3, 8, 8), np.float32))
    path = folder / "changed.npy"

    def act(seed: int) -> str:
        rng = Random(seed)
        path.write_bytes(change_header(rng) if rng.random() < 0.5 else change_bytes(stored.getvalue(), rng))
        return str(read_array(path).shape)

    return act


SURFACE = Surface("arrays", prepare)
