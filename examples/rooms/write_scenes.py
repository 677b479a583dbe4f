"""Write held-out scenes as `edgemtl eval` reads them: python -m examples.rooms.write_scenes FOLDER."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from examples.rooms.data import HELD_OUT_SEED
from examples.rooms.render import View, render_seed


def write_view(folder: Path, name: str, view: View) -> None:
    """Write one view: images/NAME.png, semseg/NAME.png (class ids), depth/NAME.npy (metres, [H, W]),
    normals/NAME.npy ([3, H, W]) and edges/NAME.png (0 or 255)."""
    for part in ("images", "semseg", "depth", "normals", "edges"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(view.image).save(folder / "images" / f"{name}.png")
    Image.fromarray(view.classes).save(folder / "semseg" / f"{name}.png")
    Image.fromarray(view.edges.astype(np.uint8) * np.uint8(255)).save(folder / "edges" / f"{name}.png")
    np.save(folder / "depth" / f"{name}.npy", view.depth)
    np.save(folder / "normals" / f"{name}.npy", np.ascontiguousarray(view.normals.transpose(2, 0, 1)))


def write_scenes(folder: Path, count: int, first_seed: int = HELD_OUT_SEED) -> None:
    """Render and write scenes ``first_seed`` .. ``first_seed + count``, named 0000, 0001, ..."""
    for index in range(count):
        write_view(folder, f"{index:04d}", render_seed(first_seed + index))


def main() -> None:
    """Command line: a folder and a number of scenes."""
    parser = argparse.ArgumentParser(description="Write held-out rooms with their labels.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=200)
    arguments = parser.parse_args()
    write_scenes(arguments.folder, arguments.scenes)


if __name__ == "__main__":
    main()
