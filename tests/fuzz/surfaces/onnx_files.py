"""ONNX files with bytes or structure changed: read, partitioned and lowered for the CPU, as `check` does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import onnx

from edgemtl.codegen.cpu import check
from edgemtl.frontend import read_model
from edgemtl.partition import partition
from edgemtl.processor import resolve
from edgemtl.stages import choose_tasks
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
    """A changed file: the exported model, the same with its experts spelt out, or a plain network."""
    good = materials.folder(folder.parent / "materials")
    files = [(good / name).read_bytes() for name in (materials.MODEL, materials.DENSE, materials.PLAIN)]
    models = [onnx.load_from_string(data) for data in files]
    path, target = folder / "changed.onnx", resolve("cpu")

    def act(seed: int) -> str:
        rng = Random(seed)
        try:
            data = change_bytes(rng.choice(files), rng) if seed % 2 else change_structure(rng.choice(models), rng)
        except UNWRITABLE:
            return "not written"
        path.write_bytes(data)
        model = read_model(path)
        tasks = partition(model, choose_tasks(model, ()), "exact")
        return f"{sum(row.how == 'unsupported' for row in check(tasks, target))} nodes are refused"

    return act


SURFACE = Surface("ONNX files", prepare)
