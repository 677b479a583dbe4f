"""PNG and JPEG files with bytes changed, read as a model's input and as a label."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from edgemtl.frontend import InputSpec
from edgemtl.images import load_image, read_label_picture
from edgemtl.vocabulary import RESIZE_FILTERS
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


def describe_input(rng: Random) -> InputSpec:
    """An image input of colours or of grey, larger or smaller than the picture."""
    channels = rng.choice((1, 3))
    sides = rng.choice(((24, 32), (7, 50), (16, 16)))
    return InputSpec("image", (1, channels, *sides), (0.5,) * channels, (0.2,) * channels, rng.choice(RESIZE_FILTERS))


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed picture."""
    good = [store(*way) for way in WAYS]

    def act(seed: int) -> str:
        rng = Random(seed)
        path = folder / f"changed{rng.choice(('.png', '.jpg'))}"
        path.write_bytes(change_bytes(rng.choice(good), rng))
        if rng.random() < 0.2:
            label = read_label_picture(path)
            assert label.ndim == 2, label.shape
            return f"a label {label.dtype}"
        spec = describe_input(rng)
        array = load_image(path, spec).array
        assert (array.dtype, array.shape) == (np.float32, spec.shape), (array.dtype, array.shape)
        assert np.isfinite(array).all()
        return str(array.shape)

    return act


SURFACE = Surface("pictures", prepare)
