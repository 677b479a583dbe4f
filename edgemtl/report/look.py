"""What pages share: colours, and names of the parts of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

LINE, BAD, GOOD, GREY = "#2b5c8a", "#c0392b", "#2e7d4f", "#7a7f85"
_NUMBERED = re.compile(r"^(?:[^/]*/)?(?P<group>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*\.\d+|[A-Za-z_]\w*\.[A-Za-z_]\w*)[./]")


def group_ticks(names: Sequence[str]) -> list[tuple[int, str]]:
    """Where a new part of the model begins, counted from 1, and what it is called: "blocks.3", "decoders.depth"."""
    ticks: list[tuple[int, str]] = []
    for index, name in enumerate(names, 1):
        match = _NUMBERED.match(name)
        group = match["group"].removeprefix("backbone.") if match is not None else ""
        if group and (not ticks or ticks[-1][1] != group):
            ticks.append((index, group))
    return ticks
