"""How a Winograd convolution is cut: tiles into blocks for the cache, blocks or channels over threads."""

from __future__ import annotations

from dataclasses import dataclass

from edgemtl.operators import QWinograd, Winograd
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.emit import panel_width, panels, tile_rows
from edgemtl.tvm_bridge.kernels.tiles import padded_width
from edgemtl.tvm_bridge.kernels.winograd_math import PLACES, TILE

# Transformed windows of a block in bytes, by vector width. A block that outgrows a second-level cache of 1
# MiB (512 KiB, 256 KiB) costs less than weights that pass through it more often.
BLOCK_BYTES = {512: 1280 << 10, 256: 768 << 10, 128: 320 << 10}
# Output channels whose products are kept at once.
GROUP = 64
# Windows are so many bytes longer than the channels, so that they do not all fall into the same cache sets.
SPARE_BYTES = 64
# Work of a row of a register tile besides its multiply-adds (loads of weights), in rows' worth per tile.
TILE_OVERHEAD = 0.5


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class ChannelGroup:
    """Output channels computed at once: ``panels`` panels of ``width``, of which ``valid`` channels exist."""

    panels: int
    width: int
    valid: int

    @property
    def columns(self) -> int:
        """Output channels with those that do not exist."""
        return self.panels * self.width


@dataclass(frozen=True)
class WinogradCut:
    """The tiles of an image, ``down`` by ``across``, in blocks of ``block`` and register tiles of ``tall``.

    ``by_groups``: every part transforms all windows and computes its own output channels; else parts take
    blocks. ``prefetch``: the weights are too large to stay in the cache. ``groups``: output channels in
    turns, each turn some panels of one width.
    """

    down: int
    across: int
    tall: int
    block: int
    by_groups: bool
    prefetch: bool
    groups: tuple[ChannelGroup, ...]

    @property
    def tiles(self) -> int:
        """Tiles of the image."""
        return self.down * self.across

    @property
    def blocks(self) -> int:
        """Blocks of the image; the last one may reach past its last tile."""
        return ceil_div(self.tiles, self.block)


def window_length(spec: Winograd | QWinograd) -> int:
    """Values of one place of a window in memory: its channels, and what keeps windows apart."""
    return spec.cin + SPARE_BYTES // _itemsize(spec)


def _itemsize(spec: Winograd | QWinograd) -> int:
    """Bytes of a transformed value."""
    return 4 if isinstance(spec, Winograd) else 2


def cut(spec: Winograd | QWinograd, target: CpuTarget) -> WinogradCut:
    """The cut that leaves the least work.

    Few tiles over many output channels go by channels: the weights, not the tiles, are the work then.
    """
    itemsize, pointwise = _itemsize(spec), isinstance(spec, Winograd) and spec.pointwise > 0
    down, across = ceil_div(spec.height, TILE), ceil_div(spec.width, TILE)
    tallest = tile_rows(panel_width(target), target)
    groups = _groups(spec.cout, target)
    even = all(group == groups[0] for group in groups) and len(groups) % target.threads == 0
    by_groups = even and not pointwise and down * across <= 2 * tallest * target.threads
    owners = 1 if by_groups else target.threads
    share = ceil_div(down * across, owners)
    most = max(tallest, BLOCK_BYTES[target.vector_bits] // (itemsize * PLACES * window_length(spec)))
    choices = [_block(share, most, tall) for tall in range(tallest, tallest // 2, -1)]
    tall, block = min(choices, key=lambda choice: _work(share, *choice))
    weights = itemsize * PLACES * spec.cin * padded_width(spec.cout, target)
    return WinogradCut(down, across, tall, block, by_groups, weights > BLOCK_BYTES[target.vector_bits], groups)


def _groups(channels: int, target: CpuTarget) -> tuple[ChannelGroup, ...]:
    """Whole panels as many at a time as a group holds, then the narrower ones."""
    cut, widest = panels(channels, target), panel_width(target)
    whole, most = sum(1 for panel in cut if panel == (widest, widest)), max(1, GROUP // widest)
    groups = [ChannelGroup(most, widest, most * widest)] * (whole // most)
    if rest := whole % most:
        groups.append(ChannelGroup(rest, widest, rest * widest))
    return (*groups, *(ChannelGroup(1, width, valid) for width, valid in cut[whole:]))


def _block(share: int, most: int, tall: int) -> tuple[int, int]:
    """Register rows, and tiles of a block: as few equal blocks as ``most`` allows, whole register tiles."""
    blocks = ceil_div(share, most // tall * tall)
    return tall, ceil_div(ceil_div(share, blocks), tall) * tall


def _work(share: int, tall: int, block: int) -> float:
    return ceil_div(share, block) * block * (1 + TILE_OVERHEAD / tall)
