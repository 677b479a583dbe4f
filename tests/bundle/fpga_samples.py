"""A bundle of a few kilobytes with a program for an FPGA: one task, one segment of one instruction."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgemtl.bundle import Manifest, pack_golden, parse_manifest, write_bundle
from edgemtl.hw.encoding import encode_stream, engine_digest
from edgemtl.hw.isa import BY_NAME, VERSION, Instruction
from edgemtl.hw.spec import read_spec
from tests.bundle import samples

SPEC = read_spec("zcu104")
PARAMETERS = bytes(range(128))
HOST_WEIGHTS = bytes(64)
CONSTANTS = bytes(range(64))
STREAM = encode_stream([Instruction("LOAD", dict.fromkeys(BY_NAME["LOAD"].places, 0))], SPEC.engine, 16)


def document() -> dict[str, Any]:
    """The manifest as JSON, without sections."""
    held = samples.document()
    return {
        **held,
        "tasks": [task for task in held["tasks"] if task["name"] == "depth"],
        "golden": [entry for entry in held["golden"] if entry["task"] == "depth"],
        "weights": [],
        "program": _program(),
    }


def _program() -> dict[str, Any]:
    output = {"shape": [1, 1, 4, 6], "dtype": "float32"}
    left = [{"origin": ["/resize"], "kind": "DequantiseImage", "reason": "it works in float32"}]
    return {
        "device": "fpga",
        "instruction_set": VERSION,
        "precision": "int8",
        "board": samples.json.loads(samples.json.dumps(asdict(SPEC))),
        "engine": f"{engine_digest(SPEC.engine):016x}",
        "share": 0.5,
        "on_chip": {"residual": 64, "ring": 1024, "routing": 24},
        "parameters_bytes": len(PARAMETERS),
        "hosts": [_host("a53", "aarch64-linux-gnu", 128), _host("x86", "x86_64-linux-gnu", 256)],
        "constants": [
            {"name": "c", "offset": 0, "bytes": 16, "shape": [16], "dtype": "int8", "role": "values", "range": None}
        ],
        "constants_bytes": len(CONSTANTS),
        "tasks": {"depth": {"steps": 2, "output": output, "host": _steps(), "segments": [_segment()], "left": left}},
    }


def _steps() -> list[dict[str, Any]]:
    """The image's first values to bytes, and the segment that reads them."""
    sizes = {"size": 32, "dtype": "int8", "inverse_scale": 4.0, "zero": 1, "wide": False}
    quantise = {"operator": "Quantise", "sizes": sizes, "segment": None, "constants": []}
    segment = {"operator": "segment", "sizes": None, "segment": 0, "constants": []}
    return [
        {**quantise, "inputs": [_flat("input/image", "float32")], "outputs": [_flat("patches", "int8")]},
        {**segment, "inputs": [_view("patches", "int8")], "outputs": [_view("map", "int16")]},
    ]


def _view(buffer: str, dtype: str) -> dict[str, Any]:
    return {"buffer": buffer, "shape": [4, 8], "strides": [8, 1], "offset": 0, "dtype": dtype}


def _flat(buffer: str, dtype: str) -> dict[str, Any]:
    return {"buffer": buffer, "shape": [32], "strides": [1], "offset": 0, "dtype": dtype}


def _host(name: str, triple: str, bits: int) -> dict[str, Any]:
    cpu = samples.document()["program"]
    target = {**cpu["target"], "triple": triple, "vector_bits": bits}
    tasks = {"depth": cpu["tasks"]["depth"]}
    library = f"program/host_{name}.so"
    sizes = {"arena_bytes": 256, "weights_bytes": len(HOST_WEIGHTS)}
    return {
        "name": name,
        "cpu": {**cpu, "precision": "int8", "target": target, "library": library, "tasks": tasks, **sizes},
        "weights": f"program/host_{name}.bin",
        "tensors": [
            {"name": "w", "offset": 0, "bytes": 16, "shape": [16], "dtype": "int8", "role": "values", "range": None}
        ],
        "handovers": {"depth": [{"step": 1, "inputs": [0], "outputs": [128]}]},
    }


def _segment() -> dict[str, Any]:
    rows = {"line": 0, "rows": 4, "width": 8, "pitch": 64}
    buffers = [{"name": "x.1", "offset": 0, "bytes": 64, "first": 0, "last": 0}]
    return {
        "stream": "streams/depth/0.stream",
        "layer_index": "streams/depth/0.layers",
        "layers": [{"name": "patch", "origin": ["/patch"], "macs": 10}, {"name": "norm", "origin": [], "macs": 0}],
        "inputs": [{"buffer": "patches", "dtype": "int8", **rows}],
        "outputs": [{"buffer": "map", "dtype": "int16", **rows}],
        "windows": {"input": 256, "output": 256, "scratch": 0},
        "early": [[1, 0]],
        "routing": [{"tokens": 4, "top_k": 1, "experts": 2}],
        "regions": [{"name": "residual", "arena_bytes": 64, "lower_bound_bytes": 64, "buffers": buffers}],
    }


def sections() -> dict[str, bytes]:
    """The sections that belong to ``document``."""
    held = {"weights.bin": PARAMETERS, "streams/depth/0.stream": STREAM, "streams/depth/0.layers": b"\1\0"}
    for name in ("a53", "x86"):
        held |= {f"program/host_{name}.so": samples.LIBRARY, f"program/host_{name}.bin": HOST_WEIGHTS}
    held["program/host_constants.bin"] = CONSTANTS
    return held | pack_golden("depth", samples.stored(), samples.output("depth"), 1e-4)[1]


def manifest() -> Manifest:
    """``document`` as a manifest."""
    return parse_manifest(document())


def write(path: Path) -> Path:
    """The bundle at ``path``."""
    write_bundle(path, manifest(), sections())
    return path
