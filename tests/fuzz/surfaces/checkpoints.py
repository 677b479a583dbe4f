"""Checkpoints, pickled, zipped or safetensors, with bytes or with names, sizes and values changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from random import Random

import safetensors.torch
import torch

from edgemtl.exporters.checkpoint_files import METADATA_KEY
from edgemtl.exporters.checkpoints import SCHEMA_VERSION, load_checkpoint
from edgemtl.exporters.models import M3ViT, ModelConfig
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import VALUES, change_bytes, change_json
from tests.support.models import small_config

NAMES = ("", "x" * 5000, "backbone.blocks.99999999999.x", "module.module.a", "é", "gate.weight", "__class__")


def change_state(state: dict[str, object], rng: Random) -> dict[str, object]:
    """A parameter gone, renamed, of another shape or type, or no tensor at all."""
    changed = dict(state)
    name = rng.choice([*changed])
    match rng.randrange(6):
        case 0:
            del changed[name]
        case 1:
            changed[rng.choice(NAMES)] = changed.pop(name)
        case 2:
            changed[name] = torch.zeros(rng.choice(((), (0,), (1,), (3, 0, 5), (1, 1, 1, 1, 1, 1))))
        case 3:
            changed[name] = torch.full(changed[name].shape, rng.choice((float("nan"), float("inf"), 1e38, 0.0)))
        case 4:
            changed[name] = changed[name].to(rng.choice((torch.float16, torch.int64, torch.bool, torch.complex64)))
        case _:
            changed[name] = rng.choice(VALUES)
    return changed


def store(content: object, zipped: bool) -> bytes:
    """What torch.save writes."""
    data = BytesIO()
    torch.save(content, data, _use_new_zipfile_serialization=zipped)
    return data.getvalue()


def store_safetensors(state: dict[str, torch.Tensor], described: str) -> bytes:
    """A checkpoint of ours: its metadata describes the model."""
    return safetensors.torch.save({k: v.contiguous() for k, v in state.items()}, {METADATA_KEY: described})


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed checkpoint of a small model."""
    torch.manual_seed(0)
    config: ModelConfig = small_config()
    state = M3ViT(config).state_dict()
    described = {"schema_version": SCHEMA_VERSION, "model": config.to_json(), "metadata": {}}
    document = json.loads(json.dumps(described))
    files = {".pth": [store(state, True), store(state, False), store({"state_dict": state, "epoch": 3}, True)]}
    files[".safetensors"] = [store_safetensors(state, json.dumps(document))]

    def write(rng: Random) -> Path:
        path = folder / f"changed{rng.choice((*files, '.pth'))}"
        if rng.random() < 0.6:
            path.write_bytes(change_bytes(rng.choice(files[path.suffix]), rng))
        elif path.suffix == ".pth":
            path.write_bytes(store(change_state(state, rng), rng.random() < 0.5))
        else:
            path.write_bytes(store_safetensors(state, change_json(document, rng)))
        return path

    def act(seed: int) -> str:
        path = write(Random(seed))
        model = load_checkpoint(path, config if path.suffix == ".pth" else None)
        return f"{len(model.config.tasks)} tasks"

    return act


SURFACE = Surface("checkpoints", prepare)
