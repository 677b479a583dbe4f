"""Rings of image rows on chip, of which a block of rows takes the place of one that nothing reads any more."""

from __future__ import annotations

from dataclasses import dataclass

from edgemtl.codegen.fpga import emit
from edgemtl.codegen.fpga.emit import OnChipTensor
from edgemtl.codegen.fpga.instructions import At, RowRange


@dataclass(frozen=True)
class RowRing:
    """A ring of image rows on chip: row y lies at row y modulo ``wrap``; ``width`` pixels of ``stride`` granules."""

    at: At
    wrap: int
    width: int
    stride: int

    @property
    def row(self) -> int:
        """Granules of a row."""
        return self.width * self.stride

    def row_at(self, y: int) -> At:
        """Where row ``y`` lies."""
        return self.at.on(y % self.wrap * self.row)

    def pieces(self, first: int, last: int) -> list[OnChipTensor]:
        """Rows ``first`` to ``last``, the latter excluded, as one tensor, or two where they wrap around."""
        pieces, y = [], first
        while y < last:
            count = min(last - y, self.wrap - y % self.wrap)
            pieces.append(OnChipTensor(self.row_at(y), count, self.row, 1, self.row))
            y += count
        return pieces

    def touched(self, first: int, last: int) -> tuple[RowRange, ...]:
        """The same rows as what an instruction reads or writes."""
        return tuple(emit.rows_of(piece) for piece in self.pieces(first, last))
