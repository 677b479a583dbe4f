"""A bundle of a few kilobytes that holds everything the format knows, and tools to bend it."""

from __future__ import annotations

import copy
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgemtl.bundle import Manifest, StoredInput, pack_golden, parse_manifest, write_bundle

SHAPE = (1, 3, 4, 6)
TASKS = {"semseg": ("segmentation", 5), "depth": ("depth", 1)}
LIBRARY = b"\x7fELF" + bytes(range(256))
SECTIONS = (
    "golden/depth/input_0.npy",
    "golden/depth/output.npy",
    "golden/semseg/input_0.npy",
    "golden/semseg/output.npy",
    "program/cpu.so",
    "weights.bin",
)


def image() -> np.ndarray:
    """The golden input."""
    return np.linspace(-1, 1, 72, dtype=np.float32).reshape(SHAPE)


def stored() -> dict[str, StoredInput]:
    """The golden input as a bundle stores it."""
    return {"image": StoredInput(image())}


def output(task: str) -> np.ndarray:
    """The golden output of a task."""
    channels = TASKS[task][1]
    return np.linspace(0, channels, channels * 24, dtype=np.float32).reshape(1, channels, 4, 6)


def weights() -> np.ndarray:
    """The weights section: two tensors and the gap between them."""
    return np.arange(192, dtype=np.uint8)


def document() -> dict[str, Any]:
    """The manifest as JSON, without sections."""
    golden = [_golden(task) for task in TASKS]
    return {
        "schema_version": 3,
        "tool": {"name": "edgemtl", "version": "0.1.0"},
        "model": {"name": "modèle.onnx", "sha256": "ab" * 32},
        "inputs": [
            {
                "name": "image",
                "shape": list(SHAPE),
                "mean": [0.5, 0.5, 0.5],
                "std": [0.25, 0.25, 0.25],
                "resize_filter": "pillow-bilinear",
                "dtype": "float32",
                "bounds": None,
            }
        ],
        "tasks": [_task(task, kind, channels) for task, (kind, channels) in TASKS.items()],
        "notes": ["batch size 1"],
        "program": _program(),
        "weights": [
            {
                "name": "a",
                "offset": 0,
                "bytes": 40,
                "shape": [2, 5],
                "dtype": "float32",
                "role": "values",
                "range": None,
            },
            {"name": "b", "offset": 64, "bytes": 128, "shape": [128], "dtype": "int8", "role": "values", "range": None},
        ],
        "golden": golden,
    }


def _golden(task: str) -> dict[str, Any]:
    entry, _ = pack_golden(task, stored(), output(task), 1e-4)
    return {
        "task": task,
        "case": "plain",
        "inputs": [{"name": "image", "shape": list(SHAPE), "fill": None}],
        "output_stride": entry.output_stride,
        "output_elements": entry.output_elements,
        "tolerance": entry.tolerance,
    }


def _task(name: str, kind: str, channels: int) -> dict[str, Any]:
    moe = [{"node": "/blocks.1/moe", "layer": 1, "experts": [0, 2, 3], "total": 4, "top_k": 2}]
    return {
        "name": name,
        "kind": kind,
        "channels": channels,
        "pathway": "calibrated",
        "inputs": ["image"],
        "moe": moe,
        "notes": [],
        "classes": [],
    }


def _program() -> dict[str, Any]:
    target = {
        "name": "cpu-avx2",
        "triple": "x86_64-linux-gnu",
        "mcpu": "haswell",
        "vector_bits": 256,
        "threads": 2,
    }
    return {
        "device": "cpu",
        "precision": "fp32",
        "target": target,
        "library": "program/cpu.so",
        "arena_bytes": 4096,
        "prepared_bytes": 0,
        "weights_bytes": 192,
        "common_prefix_steps": 1,
        "tasks": {task: _task_program(task, channels) for task, (_, channels) in TASKS.items()},
    }


def _task_program(task: str, channels: int) -> dict[str, Any]:
    layers = [{"step": i, "kernel": "linear", "origin": ["/a", "/b"], "macs": 10, "bytes": 640} for i in range(2)]
    return {
        "entry": f"run_{task}",
        "prepare": None,
        "steps": 2,
        "output": {"shape": [1, channels, 4, 6], "dtype": "float32"},
        "layers": layers,
    }


def sections() -> dict[str, bytes]:
    """The sections that belong to ``document``."""
    found = {"weights.bin": weights().tobytes(), "program/cpu.so": LIBRARY}
    for task in TASKS:
        found |= pack_golden(task, stored(), output(task), 1e-4)[1]
    return found


def manifest() -> Manifest:
    """``document`` as a manifest."""
    return parse_manifest(document())


def write(path: Path) -> Path:
    """The bundle at ``path``."""
    write_bundle(path, manifest(), sections())
    return path


def changed(place: str, value: Any, source: dict[str, Any] | None = None) -> dict[str, Any]:
    """``document`` with the value at a place such as "tasks.0.name" replaced."""
    found = copy.deepcopy(source or document())
    *way, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    inner: Any = found
    for step in way:
        inner = inner[step]
    inner[last] = value
    return found


def listed(described: dict[str, Any], files: dict[str, bytes] | None = None) -> dict[str, Any]:
    """``described`` with the list of sections that ``files`` have."""
    files = files or sections()
    entries = [
        {"name": name, "bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
        for name in sorted(files)
    ]
    return {**described, "sections": entries}


def members(described: dict[str, Any] | bytes, files: dict[str, bytes] | None = None) -> list[tuple[str, bytes]]:
    """The members of a file whose manifest is ``described``, signed as it should be."""
    files = files or sections()
    text = described if isinstance(described, bytes) else json.dumps(listed(described, files)).encode()
    checksum = f"{hashlib.sha256(text).hexdigest()}  manifest.json\n".encode()
    return [("manifest.json", text), ("manifest.sha256", checksum), *sorted(files.items())]


def pack(path: Path, content: list[tuple[str, bytes]]) -> Path:
    """A file in the format's own layout with any members at all."""
    import zlib

    from edgemtl.bundle.archive import Member, lay_out

    layout = lay_out([Member(name, len(data), zlib.crc32(data)) for name, data in content])
    pieces = [item.header + data for item, (_, data) in zip(layout.members, content, strict=True)]
    path.write_bytes(b"".join(pieces) + layout.directory)
    return path


def foreign_zip(path: Path, method: int = zipfile.ZIP_STORED) -> Path:
    """The same members as another program's zip."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members(document()):
            file.writestr(name, data)
    return path
