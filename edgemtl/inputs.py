"""Files as inputs of a model that is not compiled yet: for calibration, for comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemtl.errors import UsageError
from edgemtl.frontend import MultiTaskModel
from edgemtl.images import is_array_file, list_images, load_image, summarise_notes


@dataclass(frozen=True)
class InputImages:
    """Inputs by name, and notes on how pictures became inputs."""

    arrays: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()


def read_folder(model: MultiTaskModel, folder: Path) -> InputImages:
    """Every image of a folder as an input of ``model``, by the name of its file. Raises what `read_files` raises."""
    return read_files(model, {path.name: path for path in list_images(folder)})


def read_files(model: MultiTaskModel, files: Mapping[str, Path]) -> InputImages:
    """Pictures and .npy files as inputs of ``model``.

    Raises InputError, or UsageError for a picture where neither model nor user says a normalisation.
    """
    for path in files.values():
        if (model.input.mean is None or model.input.std is None) and not is_array_file(path):
            raise UsageError(
                f"{path}: pictures must come with --mean and --std, since the model records no normalisation"
            )
    images = {name: load_image(path, model.input) for name, path in files.items()}
    notes = summarise_notes({name: image.notes for name, image in images.items()})
    return InputImages({name: image.array for name, image in images.items()}, notes)
