"""Board files with values, lines or bytes changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from edgemtl.hw.spec import BOARDS, FOLDER, read_spec
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import change_bytes, change_lines


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed file of one of the boards."""
    good = [(FOLDER / f"{name}.toml").read_text() for name in BOARDS]
    path = folder / "changed.toml"

    def act(seed: int) -> str:
        rng = Random(seed)
        text = rng.choice(good)
        path.write_bytes(
            change_bytes(text.encode(), rng) if rng.random() < 0.3 else change_lines(text, rng, "=").encode()
        )
        return read_spec(str(path)).name

    return act


SURFACE = Surface("board files", prepare)
