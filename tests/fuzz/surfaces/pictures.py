"""PNG and JPEG files with bytes changed, read as a model's input."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from edgemtl.images import read_rgb
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import change_bytes

WAYS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *(
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("P", "PNG", {}),
        ("L", "PNG", {}),
        ("I;16", "PNG", {}),
        ("1", "PNG", {}),
    ),
    *(("RGB", "JPEG", {}), ("RGB", "JPEG", {"progressive": True}), ("L", "JPEG", {}), ("CMYK", "JPEG", {})),
    *(("RGB", "GIF", {}), ("RGB", "BMP", {}), ("RGB", "TIFF", {}), ("RGB", "EPS", {}), ("RGB", "WEBP", {})),
)
"""Mode, format and options; formats that are not read stand for files with a wrong name."""


def store(mode: str, kind: str, options: dict[str, Any]) -> bytes:
    """A picture of noise."""
    values = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    grey = np.random.default_rng(0).integers(0, 1 << 16, (24, 32), np.uint16)
    picture = Image.fromarray(grey) if mode == "I;16" else Image.fromarray(values).convert(mode)
    data = BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed picture."""
    good = [store(*way) for way in WAYS]

    def act(seed: int) -> str:
        rng = Random(seed)
        path = folder / f"changed{rng.choice(('.png', '.jpg'))}"
        path.write_bytes(change_bytes(rng.choice(good), rng))
        rgb = read_rgb(path)
        assert rgb.dtype == np.uint8, rgb.dtype
        assert rgb.ndim == 3, rgb.shape
        return str(rgb.shape)

    return act


SURFACE = Surface("pictures", prepare, mib=900, stated="a picture may have 64 Mpixel")
