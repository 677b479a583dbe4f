"""ONNX files with bytes or structure changed, read by the frontend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import onnx

from edgemtl.frontend import read_model
from tests.fuzz import materials
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import ROUNDS, change_bytes
from tests.fuzz.onnx_changes import CHANGES

UNWRITABLE = (ValueError, TypeError, IndexError, OverflowError)
"""What protobuf says of a change that it cannot hold."""


def change_structure(model: onnx.ModelProto, rng: Random) -> bytes:
    """Nodes, edges, constants and borders changed; opsets too, now and then."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for _ in range(rng.choice(ROUNDS)):
        rng.choice(CHANGES)(changed.graph, rng)
    if rng.random() < 0.1:
        rng.choice(changed.opset_import).version = rng.choice([0, 1, 6, 11, 17, 24, 1000, -1, 2**62])
    return changed.SerializeToString()


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed file: the exported model or its QDQ form."""
    good = materials.folder(folder.parent / "materials")
    files = [(good / name).read_bytes() for name in (materials.MODEL, materials.QDQ)]
    models = [onnx.load_from_string(data) for data in files]
    path = folder / "changed.onnx"

    def act(seed: int) -> str:
        rng = Random(seed)
        try:
            data = change_bytes(rng.choice(files), rng) if seed % 2 else change_structure(rng.choice(models), rng)
        except UNWRITABLE:
            return "not written"
        path.write_bytes(data)
        return f"{len(read_model(path).tasks)} tasks"

    return act


SURFACE = Surface("ONNX files", prepare)
