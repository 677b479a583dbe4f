"""Pools of rendered scenes: made once by several processes, packed, cached, cut into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.rooms.labels import HEIGHT_PX, WIDTH_PX, Bytes
from examples.rooms.render import View, render_seed

TRAIN_SEED: Final = 0
HELD_OUT_SEED: Final = 10_000_000
PROGRESS_SEED: Final = 11_000_000
THRESHOLD_SEED: Final = 12_000_000
"""First scene numbers of four sets that never meet: training, report, progress while training, tuning."""

IMAGE_MEAN: Final = 0.5
IMAGE_STD: Final = 0.25
"""The network's input is (rgb / 255 - IMAGE_MEAN) / IMAGE_STD on every channel."""

_NORMAL_STEPS = 127


@dataclass(frozen=True)
class Pool:
    """N packed scenes, 13 bytes a pixel.

    image [N, H, W, 3] uint8; classes [N, H, W] uint8; depth [N, H, W] float16 in metres;
    normals [N, H, W, 3] int8 (times 127); edges [N, H, W] uint8 of 0 or 1.
    """

    image: Bytes
    classes: Bytes
    depth: NDArray[np.float16]
    normals: NDArray[np.int8]
    edges: Bytes

    def __len__(self) -> int:
        return len(self.image)

    def take(self, index: NDArray[np.intp]) -> Pool:
        """The scenes at ``index``, copied."""
        return Pool(*(np.ascontiguousarray(getattr(self, field.name)[index]) for field in fields(Pool)))


def pack(views: Sequence[View]) -> Pool:
    """Pack rendered views."""
    return Pool(
        np.stack([view.image for view in views]),
        np.stack([view.classes for view in views]),
        np.stack([view.depth for view in views]).astype(np.float16),
        np.round(np.stack([view.normals for view in views]) * _NORMAL_STEPS).astype(np.int8),
        np.stack([view.edges for view in views]).astype(np.uint8),
    )


def join(pools: Sequence[Pool]) -> Pool:
    """One pool of many."""
    return Pool(*(np.concatenate([getattr(p, field.name) for p in pools]) for field in fields(Pool)))


def _render_pack(seeds: NDArray[np.int64]) -> Pool:
    return pack([render_seed(int(seed)) for seed in seeds])


def render_pool(first_seed: int, count: int, processes: int = 1) -> Pool:
    """Render scenes ``first_seed`` .. ``first_seed + count``; the result does not depend on ``processes``."""
    parts = np.array_split(np.arange(first_seed, first_seed + count), max(processes, count // 100, 1))
    if processes == 1:
        return join([_render_pack(part) for part in parts])
    with get_context("fork").Pool(processes) as workers:
        return join(workers.map(_render_pack, parts, chunksize=1))


def cached_pool(folder: Path, first_seed: int, count: int, processes: int) -> Pool:
    """The pool kept in ``folder`` as one .npy a field, rendered first if it is not there yet."""
    home = folder / f"rooms_{first_seed}_{count}_{HEIGHT_PX}x{WIDTH_PX}"
    if not home.is_dir():
        pool = render_pool(first_seed, count, processes)
        partial = home.with_name(home.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        for field in fields(Pool):
            np.save(partial / f"{field.name}.npy", getattr(pool, field.name))
        partial.rename(home)
    return Pool(*(np.load(home / f"{field.name}.npy", mmap_mode="r") for field in fields(Pool)))
