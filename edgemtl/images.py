"""Images and arrays from files, as the arrays a model takes; a leaf: numpy and pillow only."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
from PIL import Image, UnidentifiedImageError

from edgemtl.errors import InputError

FORMATS = ("PNG", "JPEG")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
# A hostile file must not cost more memory than any camera's picture.
MAX_PIXELS = 64 * 1024 * 1024
MAX_ARRAY_BYTES = 1 << 32
# To numpy a header is Python source, on which it fails in the ways of a parser.
HEADER_ERRORS = (
    *(OSError, ValueError, EOFError, SyntaxError, TokenError),
    *(TypeError, ArithmeticError, RecursionError, MemoryError),
)


def read_rgb(path: Path) -> np.ndarray:
    """The picture in a PNG or JPEG file as RGB, uint8 [H,W,3]. Raises InputError for anything else."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"{path}: a picture must have at most {MAX_PIXELS} pixels, not {image.width}x{image.height}"
                )
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: must be a readable PNG or JPEG picture; {error}") from None


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


def resize_rgb(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """``rgb`` (uint8 [H,W,3]) resampled bilinearly, with antialiasing, to ``height`` x ``width``."""
    if rgb.shape[:2] == (height, width):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))


def normalise(rgb: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """uint8 [H,W,3] to float32 [1,3,H,W]: (value / 255 - mean) / std per channel."""
    offset, scale = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    planes = ((rgb.astype(np.float32) / np.float32(255) - offset) / scale).transpose(2, 0, 1)
    return np.ascontiguousarray(planes[None], dtype=np.float32)


def list_images(folder: Path) -> tuple[Path, ...]:
    """The PNG, JPEG and .npy files of ``folder`` by name. Raises InputError where there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: must be a folder of PNG, JPEG or .npy images; there is no such folder")
    found = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in (*IMAGE_SUFFIXES, ".npy")))
    if not found:
        raise InputError(f"{folder}: must hold PNG, JPEG or .npy images; it holds none")
    return found
