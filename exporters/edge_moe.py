"""Edge-MoE's weights: a folder of raw float32 arrays, one `.float32.bin` file each (github sharc-lab/Edge-MoE).

Its testbench reads the trunk of an M3ViT-tiny from them. The class token is already in the first row of `pos_embed`,
gates are stored expert by expert, and an image is pixel / 256. Files of heads are ours: the name of the parameter with
`_` for every dot.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgemtl.errors import CheckpointError
from edgemtl.exporters.checkpoints import Loaded, fill_model
from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.m3vit import M3ViT
from edgemtl.exporters.state_dicts import State

SUFFIX = ".float32.bin"
MEAN, STD = (0.0, 0.0, 0.0), (256 / 255, 256 / 255, 256 / 255)
NOT_WEIGHTS = re.compile(r"image|l\d+_x_post_(mlp|moe)")
"""What the testbench reads besides: an image, and what the trunk must give for it."""


def read_edge_moe(folder: Path, config: ModelConfig) -> Loaded:
    """The model in a folder of Edge-MoE's files, its input normalised as theirs.

    Raises `CheckpointError` that names every file that is missing, unknown or of another size.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"checkpoint must be a folder of {SUFFIX} files with --layout edge-moe, and {folder} is not"
        )
    config = replace(config, mean=MEAN, std=STD)
    with torch.device("meta"):
        expected = M3ViT(config).state_dict()
    files = {name: _file_name(name) for name in expected if _is_stored(name)}
    _check_files(folder, expected, files)
    values = {name: _value(folder, name, files.get(name), tensor) for name, tensor in expected.items()}
    loaded = fill_model(folder, config, State(values, ()))
    return Loaded(loaded.model, (f"input is pixel / 256: mean {MEAN[0]:g}, deviation 256/255", *loaded.notes))


def _is_stored(name: str) -> bool:
    return name != "backbone.cls_token" and not name.endswith("num_batches_tracked")


def _file_name(name: str) -> str:
    """The file of a parameter."""
    if gate := re.fullmatch(r"backbone\.blocks\.(\d+)\.mlp\.gate(?:\.(\d+))?\.w_gate", name):
        return f"l{gate[1]}_w_gate_T_task{gate[2] or 0}{SUFFIX}"
    if block := re.fullmatch(r"backbone\.blocks\.(\d+)\.(.*)", name):
        part = re.sub(r"^(mlp\.experts|mlp)\.|^attn\.(?=qkv)", "", block[2])
        return f"l{block[1]}_{part.replace('.', '_')}{SUFFIX}"
    plain = name.removeprefix("backbone.").replace("patch_embed.proj", "patch_embed")
    return f"{plain.replace('.', '_')}{SUFFIX}"


def _check_files(folder: Path, expected: dict[str, Tensor], files: dict[str, str]) -> None:
    present = {entry.name for entry in folder.iterdir() if entry.name.endswith(SUFFIX)}
    known = set(files.values())
    others = [name for name in sorted(present - known) if not NOT_WEIGHTS.fullmatch(name.removesuffix(SUFFIX))]
    faults = {
        "missing": [name for name in files.values() if name not in present],
        "unexpected": others,
        "wrong": [*_wrong_sizes(folder, expected, {n: f for n, f in files.items() if f in present})],
    }
    if any(faults.values()):
        lines = [f"{kind} ({len(names)}): {', '.join(names)}" for kind, names in faults.items() if names]
        raise CheckpointError(f"{folder} must hold a file for each parameter of its model; " + "; ".join(lines))


def _wrong_sizes(folder: Path, expected: dict[str, Tensor], files: dict[str, str]) -> Iterator[str]:
    for name, file in files.items():
        size, shape = (folder / file).stat().st_size, list(expected[name].shape)
        if size != 4 * expected[name].numel():
            yield f"{file} (must be {4 * expected[name].numel()} bytes for {shape}, not {size})"


def _value(folder: Path, name: str, file: str | None, expected: Tensor) -> Tensor:
    if file is None:
        return torch.zeros(expected.shape, dtype=expected.dtype)
    numbers = torch.from_numpy(np.fromfile(folder / file, "<f4").astype(np.float32))
    if name.endswith("w_gate"):
        return numbers.reshape(expected.shape[::-1]).T
    return numbers.reshape(expected.shape)
