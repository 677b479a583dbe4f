"""How large each memory on chip is, as instructions see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edgemtl.hw.spec import Engine

EXTENDED: Final = ("residual", "hidden", "input")
"""Regions that the side memory extends."""
ROW_STATES: Final = 1536
"""Rows of scores that the row state of each copy of the scores holds: three heads of 512 queries."""


def capacities(engine: Engine) -> dict[str, int]:
    """Bytes of every region by the names of `isa.REGIONS`, whole granules of ``array_columns`` bytes."""
    buffers = engine.buffers
    main = {name: getattr(buffers, name).bytes for name in EXTENDED}
    total = sum(main.values())
    sizes = {name: size + buffers.side.bytes * size // total for name, size in main.items()}
    sizes |= {f"scores{copy}": buffers.scores.bytes for copy in range(buffers.scores.copies)}
    sizes |= {"queries": buffers.queries.bytes, "constants": buffers.constants.bytes}
    return {name: size - size % engine.array_columns for name, size in sizes.items()}
