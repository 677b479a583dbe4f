"""A picture in a file as the pixels it shows: upright, opaque, grey or RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from edgemtl.errors import InputError
from edgemtl.images.formats import DAMAGE, open_picture, png_depth

MAX_DECODED_BYTES = 256 << 20
"""What decoding may take, besides the file and the result."""
DRAFT_PIXELS = 16 * 1024 * 1024
"""JPEG pictures beyond this are decoded at a fraction of their size where that is enough."""
DRAFT_MARGIN = 2
"""A fraction keeps at least this many times the sides that are asked for."""
STRIP_ROWS = 64
BACKGROUND = 255
"""What transparent pixels are laid on: white."""
GREY_16 = 257
"""65535 / 255: what one level of 8 bits is in 16."""

ROTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation (Exif 2.32, tag 274)."""
SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class Picture:
    """A decoded picture and what was done to it beyond decoding.

    image: mode "L" or "RGB" (0 to 255), or "F" for 16-bit grey: float32 from 0 to 255, nothing lost.
    """

    image: Image.Image
    notes: tuple[str, ...]


def read_picture(path: Path, channels: int, size: tuple[int, int] | None = None) -> Picture:
    """The picture in a PNG or JPEG file, for a model of 1 or 3 channels; grey stays grey for 3.

    ``size``: height and width it will be resized to, which lets a large JPEG be decoded smaller. Raises InputError for
    anything but a whole PNG or JPEG picture, and for one that takes more than ``MAX_DECODED_BYTES``.
    """
    with open_picture(path) as image:
        notes: list[str] = []
        depth = png_depth(path)
        turn, pixels = orientation(image, []), image.width * image.height
        if size is not None:
            _draft(image, size[::-1] if turn in SIDEWAYS else size, notes)
        check_memory(path, image, turn, pixels)
        image.load()
        # The EXIF data of a PNG may stand behind its pixels.
        turn = orientation(image, notes)
        check_memory(path, image, turn, pixels)
        flat = _flatten(path, image, depth, notes)
        if turn in ROTATIONS:
            notes.append("turned upright as its EXIF orientation says")
        flat = turn_upright(flat, turn)
        if channels == 1 and flat.mode == "RGB":
            notes.append("colours made grey (ITU-R 601)")
            flat = flat.convert("L")
        elif channels == 3 and flat.mode != "RGB":
            notes.append("grey, the same in all three channels")
        return Picture(flat, tuple(notes))


def orientation(image: Image.Image, notes: list[str]) -> int:
    """The EXIF orientation, 1 to 8; 1, with a note, where nothing usable is said."""
    if _is_exif_damaged(image.info.get("exif", b"")):
        notes.append("its EXIF data is damaged, and no orientation is applied")
        return 1
    turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turn in ROTATIONS or turn == 1:
        return int(turn)
    notes.append("its EXIF orientation is none of 1 to 8, and is not applied")
    return 1


def _is_exif_damaged(data: bytes) -> bool:
    """Pillow takes damaged data for none, with a warning at most."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Image.Exif().load(data)
    except (*DAMAGE, UserWarning):
        return True
    return False


def turn_upright(image: Image.Image, turn: int) -> Image.Image:
    """The picture as it is meant to be seen; ``turn`` is its EXIF orientation."""
    return image.transpose(ROTATIONS[turn]) if turn in ROTATIONS else image


def _draft(image: Image.Image, size: tuple[int, int], notes: list[str]) -> None:
    """Let a large JPEG be decoded at 1/2, 1/4 or 1/8 of its sides; a PNG cannot be."""
    before = image.size
    if before[0] * before[1] <= DRAFT_PIXELS:
        return
    height, width = size
    image.draft(None, (DRAFT_MARGIN * width, DRAFT_MARGIN * height))
    if image.size != before:
        notes.append(f"decoded at 1/{round(before[0] / image.width)} of its size, since it has over 16 Mpixel")


def check_memory(path: Path, image: Image.Image, turn: int, coded: int) -> None:
    """Raise InputError where decoding takes more than `MAX_DECODED_BYTES`; the file holds ``coded`` pixels."""
    pixels = image.width * image.height
    plain = image.mode in ("L", "RGB") and turn == 1 and not image.has_transparency_data
    needed = pixels * (4 if plain else 8)
    if image.info.get("progressive"):
        # All coefficients are kept, two bytes each, and at full size.
        needed += coded * 2 * len(image.getbands())
    if needed > MAX_DECODED_BYTES:
        raise InputError(
            f"{path}: decoding must take at most {MAX_DECODED_BYTES >> 20} MiB, not {needed >> 20} MiB "
            f"({image.width}x{image.height}, {image.mode}); make the picture smaller"
        )


def _flatten(path: Path, image: Image.Image, depth: int | None, notes: list[str]) -> Image.Image:
    """The picture in mode L, RGB or F, without transparency."""
    if depth == 16 and image.mode != "I;16":
        if "transparency" in image.info:
            raise InputError(f"{path}: must not have a transparent colour of 16 bits a channel; save it with 8 bits")
        notes.append("16 bits a channel, of which the upper 8 are used")
    if image.mode == "I;16":
        return _from_16_bits(image, notes)
    if image.has_transparency_data:
        notes.append("transparent pixels laid on white")
        return _on_white(image, depth)
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "P":
        return image.convert("RGB")
    if image.mode == "CMYK":
        notes.append("CMYK made RGB without a colour profile")
        return image.convert("RGB")
    raise InputError(f"{path}: must be a picture in grey, RGB, palette or CMYK, not mode {image.mode}; convert it")


def _on_white(image: Image.Image, depth: int | None) -> Image.Image:
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode in ("1", "L") and depth:
        # The file counts in its own bits, the decoded picture in 8.
        image.info["transparency"] = key * 255 // ((1 << depth) - 1)
    result = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        white = Image.new("RGBA", strip.size, (BACKGROUND,) * 4)
        result.paste(Image.alpha_composite(white, strip.convert("RGBA")).convert("RGB"), (0, top))
    return result


def _from_16_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Levels 0 to 65535 as float32 0 to 255."""
    notes.append("16-bit grey scaled to the range of 8 bits, as float32")
    key = image.info.get("transparency")
    if key is not None:
        notes.append("transparent pixels laid on white")
    result = Image.new("F", image.size)
    for top, strip in _strips(image):
        levels = np.asarray(strip)
        values = levels.astype(np.float32) / np.float32(GREY_16)
        if key is not None:
            values[levels == key] = BACKGROUND
        result.paste(Image.fromarray(values), (0, top))
    return result


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The picture in strips, with the row each begins at: what is made of one takes little memory."""
    for top in range(0, image.height, STRIP_ROWS):
        yield top, image.crop((0, top, image.width, min(top + STRIP_ROWS, image.height)))
