"""What a file says of its tasks and its image in metadata, changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import onnx

from edgemtl.frontend import read_model
from edgemtl.frontend.model import METADATA
from tests.fuzz import materials
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import change_json


def prepare(folder: Path) -> Callable[[int], str]:
    """The exported model with changed metadata, read."""
    model = onnx.load(materials.folder(folder.parent / "materials") / materials.MODEL)
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA)
    document, path = json.loads(entry.value), folder / "changed.onnx"

    def act(seed: int) -> str:
        entry.value = change_json(document, Random(seed))
        path.write_bytes(model.SerializeToString())
        return f"{len(read_model(path).tasks)} tasks"

    return act


SURFACE = Surface("metadata", prepare)
