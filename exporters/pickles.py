"""What `torch.save` wrote, read without running code and within bounds that the size of the file sets.

torch's reader takes only tensors and plain values (`weights_only=True`). What it does not do is bound its own work:
a small file can ask for minutes of unpickling or gigabytes of memory. What is checked before it runs, or as it reads:
records that claim more bytes than the file has, pickles far longer than their tensors need, byte arrays by length, and
the checksums of an archive.
"""

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from warnings import catch_warnings, simplefilter

import numpy as np
import torch

from edgemtl.errors import CheckpointError

PICKLE_BYTES = 256 << 10
PICKLE_BYTES_PER_RECORD = 1 << 10
MOST_PICKLE_BYTES = 4 << 20
"""A tensor takes about 250 bytes of pickle and a record of the archive."""

MOST_READS = 300_000
"""Reads, about two an instruction of the pickle, of a file in the format before archives; a tensor takes about 70."""

_SCALAR = cast(Callable[..., Any], np.float64(0).__reduce__()[0])
# Training loops leave numpy numbers (a best score, say) beside the weights; making one runs no code.
_NUMPY: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]


def read_pickle(path: Path) -> object:
    """What a `.pth` file holds, tensors on the CPU; raises `CheckpointError` for a file that is not sound."""
    try:
        with open(path, "rb", buffering=0) as file, torch.serialization.safe_globals(_NUMPY), catch_warnings():
            simplefilter("ignore")  # torch's remarks on damaged files, which end in an error anyway
            archive = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            if archive:
                _check_archive(path)
            source = path if archive else _BoundedReader(path, file)
            return torch.load(source, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise CheckpointError(_damaged(path)) from error
        raise CheckpointError(_refused(path, refused[1])) from error
    except OSError as error:
        raise CheckpointError(f"{path} must be a file that can be read: {error}") from error
    except Exception as error:  # a damaged file can raise nearly anything from torch's reader
        raise CheckpointError(_damaged(path)) from error


def _damaged(path: Path) -> str:
    return f"{path} must be a PyTorch checkpoint; it is damaged or something else"


def _refused(path: Path, name: str) -> str:
    return f"{path} must hold tensors and plain values only, not {name}; save it again from model.state_dict()"


def _too_long(path: Path) -> str:
    rule = f"{path} must describe its tensors in a pickle of the usual length, not in a far longer one"
    return f"{rule}; save it again from model.state_dict()"


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        claimed, size = sum(record.file_size for record in records), path.stat().st_size
        if len({record.filename for record in records}) < len(records):
            raise CheckpointError(f"{path} must hold each record once, not two of a name; save it again")
        if claimed > size:
            rule = f"{path} must hold its records as torch.save writes them, uncompressed"
            raise CheckpointError(f"{rule}: they claim {claimed} bytes and the file has {size}; save it again")
        bound = min(MOST_PICKLE_BYTES, PICKLE_BYTES + PICKLE_BYTES_PER_RECORD * len(records))
        for record in records:
            if not record.filename.endswith("data.pkl"):
                continue
            if record.file_size > bound:
                raise CheckpointError(_too_long(path))
            # torch lets a pickle ask for a byte array of any length, which it fills.
            if b"bytearray" in archive.read(record):
                raise CheckpointError(_refused(path, "bytearray"))
        # torch's reader does not compare checksums.
        if (changed := archive.testzip()) is not None:
            raise CheckpointError(
                f"{path} must be as it was saved, and the checksum of {changed} differs; copy it again"
            )


class _BoundedReader(io.BufferedReader):
    """A file in the format before archives, whose pickles end where its tensors begin: reads are counted."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        super().__init__(file)
        self.path, self.size, self.reads = path, path.stat().st_size, 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise CheckpointError(_too_long(self.path))
        # Python's reader makes room for what is asked for before it looks at what is there.
        return super().read(size if size is None else min(size, self.size))

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if line.strip() == b"bytearray":
            raise CheckpointError(_refused(self.path, "bytearray"))
        return line
