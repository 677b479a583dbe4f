"""Files of integer parameters, made into an integer model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from edgemtl.driver import choose_tasks, specialise
from edgemtl.frontend import read_model
from edgemtl.processor import resolve
from edgemtl.quantize.parameters import tasks_with
from edgemtl.quantize.quantised_model import from_parameters
from tests.fuzz import materials
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import change_json


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed file, read for the model it was made from."""
    good = materials.folder(folder.parent / "materials")
    model = read_model(good / materials.MODEL)
    document = json.loads((good / materials.PARAMETERS).read_text())
    tasks = specialise(model, choose_tasks(model, ()), "exact", ())
    target = resolve("cpu")
    path = folder / "changed.json"

    def act(seed: int) -> str:
        rng = Random(seed)
        path.write_text(change_json(document, rng), errors="surrogatepass")
        tasks_with(path, ())
        return f"{len(from_parameters(model, tasks, target, path).integers)} tasks"

    return act


SURFACE = Surface("files of integer parameters", prepare)
