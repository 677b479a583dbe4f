"""Arrays from .npy files."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np

from edgemtl.errors import InputError

MAX_ARRAY_BYTES = 1 << 32
# To numpy a header is Python source, on which it fails in the ways of a parser.
HEADER_ERRORS = (
    *(OSError, ValueError, EOFError, SyntaxError, TokenError),
    *(TypeError, ArithmeticError, RecursionError, MemoryError),
)


def read_array(path: Path) -> np.ndarray:
    """The array in an .npy file, never unpickled. Raises InputError for anything else.

    Memory is taken after the header was compared with the size of the file.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: must be an .npy file, and there is no such file")
        if (size := path.stat().st_size) > MAX_ARRAY_BYTES:
            raise InputError(f"{path}: an array must have at most {MAX_ARRAY_BYTES} bytes, not {size}")
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
        # Mapped, a header cannot ask for more than the file holds.
        with np.errstate(over="raise"):
            return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except HEADER_ERRORS as error:
        raise InputError(f"{path}: must be a readable .npy array; {error}") from None
