"""Opening a picture: PNG and JPEG only, within limits of size, before its pixels are decoded."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from edgemtl.errors import InputError

FORMATS = ("PNG", "JPEG")
# A hostile file must not cost more memory than any camera's picture.
MAX_PIXELS = 64 * 1024 * 1024
MAX_FILE_BYTES = 1 << 28
MAX_SCANS = 100
"""Scans of a progressive JPEG, about 10 in a camera's; each passes over the whole picture."""
START_OF_SCAN = b"\xff\xda"
HEAD_BYTES = 32
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

OTHER_FORMATS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%!PS", "PostScript (EPS)"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (0, b"%PDF", "PDF"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIF"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\0\0\1\0", "an icon (ICO)"),
    (0, b"qoif", "QOI"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML"),
    (0, b"\x93NUMPY", "a numpy array"),
    (0, b"PK\3\4", "a zip archive"),
    *((0, f"P{n}".encode(), "PNM") for n in range(1, 8)),
)
"""Offset, bytes there, and what the file is: for messages alone, nothing of it is opened."""

# What Pillow lets out of a file that is not what it says, besides its own errors.
DAMAGE = (
    *(UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(LookupError, TypeError, ArithmeticError, RecursionError, AttributeError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """The PNG or JPEG file at ``path``, opened but not decoded; errors inside become InputError too.

    The checksums of a PNG are compared first, since its decoder does not. Raises InputError.
    """
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as probe:
                _check_pixels(path, probe)
                if probe.format == "PNG":
                    probe.verify()
            with Image.open(path, formats=FORMATS) as image:
                yield image
    except MemoryError:
        raise InputError(f"{path}: must fit into memory, and does not; make the picture smaller") from None
    except DAMAGE as error:
        raise InputError(f"{path}: must be a readable PNG or JPEG picture; {error}") from None


def _check_file(path: Path) -> None:
    try:
        if not path.is_file():
            raise InputError(f"{path}: must be a PNG or JPEG picture, and there is no such file")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: must be a readable PNG or JPEG picture; {error}") from None
    if size > MAX_FILE_BYTES:
        raise InputError(f"{path}: a picture must have at most {MAX_FILE_BYTES} bytes, not {size}; make it smaller")
    if (kind := identify(head)) is not None:
        raise InputError(f"{path}: must be a readable PNG or JPEG picture, not {kind}; convert it")


def identify(head: bytes) -> str | None:
    """What a file is that begins with ``head``; None for PNG, JPEG and what is not known."""
    if not head:
        return "an empty file"
    return next((name for at, magic, name in OTHER_FORMATS if head[at : at + len(magic)] == magic), None)


def _check_pixels(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{path}: a picture must have at most {MAX_PIXELS} pixels, not {image.width}x{image.height}")
    if image.format != "PNG" and (scans := path.read_bytes().count(START_OF_SCAN)) > MAX_SCANS:
        raise InputError(f"{path}: a JPEG picture must have at most {MAX_SCANS} scans, not {scans}; save it again")


def png_depth(path: Path) -> int | None:
    """Bits a channel that a PNG file has, before the decoder made 8 of them; None of other files."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return head[24] if head.startswith(PNG_MAGIC) else None
