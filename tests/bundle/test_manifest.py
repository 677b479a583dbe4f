"""The manifest is read strictly: every field has its message."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgemtl.bundle import open_bundle, parse_manifest
from edgemtl.errors import ConfigError
from tests.bundle import samples

HASH = "0" * 64
CASES = [
    ("schema_version", 4, r"manifest.schema_version must be 3, not 4; update edgemtl to read this bundle"),
    ("schema_version", 0, r"manifest.schema_version must be 3, not 0; compile this older bundle again"),
    ("schema_version", "1", r"manifest.schema_version must be an integer from 0 to 2147483647, not '1'"),
    ("schema_version", True, r"not True; compile the bundle again"),
    ("tool", [], r"manifest.tool must be an object, not \[\]"),
    ("tool.name", None, r"manifest.tool.name must be a text of at most 4096 characters, not None"),
    (
        "tool.version",
        "x" * 5000,
        r"manifest.tool.version must be a text of at most 4096 characters, not 'xxx",
    ),
    ("model.name", "\ud800", r"manifest.model.name must be a text"),
    (
        "model.sha256",
        "AB" * 32,
        r"manifest.model.sha256 must be a SHA-256 of 64 lower-case hexadecimal digits",
    ),
    ("inputs", [], r"manifest.inputs must be at least one input, each name once, not \[\]"),
    ("inputs.0.dtype", "float64", r"manifest.inputs\[0\].dtype must be one of float32, int64, int32, uint8, bool"),
    (
        "inputs.0.bounds",
        [0, 9],
        r"manifest.inputs\[0\].bounds must be of int32 or int64, the least first",
    ),
    ("inputs.0.shape", [1, 3, 4], r"manifest.inputs\[0\].mean must be 0 numbers, one per channel of an image, not 3"),
    ("tasks.0.inputs", [], r"manifest.tasks\[0\].inputs must be some of \['image'\], in this order, not \[\]"),
    ("tasks.0.inputs", ["depth"], r"manifest.tasks\[0\].inputs must be some of \['image'\], in this order"),
    (
        "inputs.0.shape",
        [1, 3, -4, 6],
        r"manifest.inputs\[0\].shape\[2\] must be an integer from 1 to 2147483647, not -4",
    ),
    ("inputs.0.shape", [1] * 9, r"manifest.inputs\[0\].shape must be 0 to 8 dimensions"),
    ("inputs.0.shape", 3, r"manifest.inputs\[0\].shape must be an array of at most 1048576 values, not 3"),
    ("inputs.0.mean", [0.5], r"manifest.inputs\[0\].mean must be 3 numbers, one per channel of an image, not 1"),
    ("inputs.0.std", [1, 1, 0], r"manifest.inputs\[0\].std must be greater than 0, not 0"),
    (
        "inputs.0.std",
        [1, 1, 1e31],
        r"manifest.inputs\[0\].std\[2\] must be a number from -1e\+30 to 1e\+30, not 1e\+31",
    ),
    ("inputs.0.mean", ["a", 1, 1], r"manifest.inputs\[0\].mean\[0\] must be a number from"),
    ("tasks", [], r"manifest.tasks must be at least one task, each name once, not \[\]"),
    ("tasks.1.name", "semseg", r"manifest.tasks must be at least one task, each name once"),
    ("tasks.1.name", "other", r"manifest.program.tasks must be the tasks \['other', 'semseg'\]"),
    ("tasks.0.name", "../a", r"manifest.tasks\[0\].name must be a name of at most 128 letters"),
    ("tasks.0.name", "a..b", r"must be a name of at most 128 letters"),
    ("tasks.0.name", "", r"must be a name of at most 128 letters"),
    (
        "tasks.0.kind",
        "sorcery",
        r"manifest.tasks\[0\].kind must be one of segmentation, depth, .*, not 'sorcery'",
    ),
    ("tasks.0.channels", 0, r"manifest.tasks\[0\].channels must be an integer from 1"),
    ("tasks.0.channels", 4, r"program.tasks.semseg.output.shape must be \[N, 4, ...\], not \[1, 5, 4, 6\]"),
    ("tasks.1.channels", 2, r"program.tasks.depth.output.shape must be \[N, 2, ...\], not \[1, 1, 4, 6\]"),
    ("program.tasks.depth.output.shape", [1, 2], r"output.shape must be \[N, 1, ...\], \[N\] or \[\], not \[1, 2\]"),
    ("program.tasks.depth.output.shape", [1] * 9, r"depth.output.shape must be 0 to 8 dimensions, not \[1, 1, 1"),
    ("program.tasks.depth.output.shape", [0], r"depth.output.shape\[0\] must be an integer from 1 to"),
    ("tasks.0.pathway", "guess", r"pathway must be one of exact, window, calibrated, not 'guess'"),
    ("tasks.0.moe.0.experts", [], r"moe\[0\].experts must be ascending expert ids, not \[\]"),
    ("tasks.0.moe.0.experts", [2, 1], r"must be ascending expert ids"),
    ("tasks.0.moe.0.experts", [0, 4], r"experts\[1\] must be an integer from 0 to 3, not 4"),
    ("tasks.0.moe.0.top_k", 4, r"top_k must be an integer from 1 to 3, not 4"),
    ("notes", [1], r"manifest.notes\[0\] must be a text"),
    ("program.device", "gpu", r"manifest.program.device must be one of cpu, fpga, not 'gpu'"),
    ("program.device", "fpga", r"manifest.program must have the field 'instruction_set'; compile this bundle for the"),
    ("program.library", "../cpu.so", r"manifest.program.library must be one of program/cpu.so"),
    (
        "program.arena_bytes",
        -1,
        r"manifest.program.arena_bytes must be an integer from 0 to 4294967295, not -1",
    ),
    ("program.arena_bytes", 1.5, r"arena_bytes must be an integer .*, not 1.5"),
    (
        "program.prepared_bytes",
        1 << 40,
        r"prepared_bytes must be an integer from 0 to 4294967295, not 1099511627776",
    ),
    ("program.common_prefix_steps", 3, r"common_prefix_steps must be at most 2, the steps of semseg, not 3"),
    ("program.target.vector_bits", 384, r"vector_bits must be 128, 256 or 512, not 384"),
    (
        "program.target.triple",
        "riscv64-linux-gnu",
        r"triple must be one of x86_64-linux-gnu, aarch64-linux-gnu",
    ),
    ("program.target.threads", 0, r"threads must be an integer from 1 to 1024, not 0"),
    ("program.tasks.depth.entry", "run_semseg", r"program.tasks must be tasks with entries of their own"),
    ("program.tasks.depth.entry", "run depth", r"entry must be a name"),
    ("program.tasks.depth.prepare", 7, r"prepare must be a name"),
    ("program.tasks.depth.steps", 0, r"steps must be an integer from 1"),
    (
        "program.tasks.depth.steps",
        3,
        r"program.tasks.depth.layers must be one for each of 3 steps, in order, not 2 layers",
    ),
    ("program.tasks.depth.steps", 2**31 - 1, r"layers must be one for each of 2147483647 steps, in order, not 2"),
    ("program.tasks.depth.layers.1.step", 0, r"program.tasks.depth.layers must be one for each of 2 steps"),
    (
        "program.tasks.depth.output.dtype",
        "float64",
        r"dtype must be one of float32, int64, int32, bool, uint8, not 'float64'",
    ),
    (
        "program.tasks.depth.output.shape",
        [1, 1, 2, 2],
        r"golden of depth: output_elements must be 4, one in 1, not 24",
    ),
    (
        "program.tasks.depth.layers.0.kernel",
        "conv",
        r"common_prefix_steps must be a number of steps with the same kernels",
    ),
    (
        "weights.0.range",
        [0, 1],
        r"weights\[0\].range must be there for int32 and int64, null for the others, not \(0, 1\)",
    ),
    ("weights.0.range", [0], r"weights\[0\].range must be the least and the largest value, not \[0\]"),
    ("weights.0.range", [0, 2**63], r"weights\[0\].range\[1\] must be an integer from -9223372036854775808 to"),
    ("weights.0.role", "tables", r"weights\[0\].role must be one of values, indices, offsets, not 'tables'"),
    (
        "weights.0.role",
        "indices",
        r"weights\[0\].role must be values, or of integers indices, or of int32 offsets, not indices of float32",
    ),
    ("weights.0.range", 7, r"weights\[0\].range must be an array"),
    ("weights.0.offset", 32, r"manifest.weights\[0\].offset must be a multiple of 64, not 32"),
    ("weights.0.offset", -64, r"manifest.weights\[0\].offset must be an integer from 0"),
    (
        "weights.1.offset",
        0,
        r"manifest.weights\[1\].offset must be at least 40, the end of the tensor before, not 0",
    ),
    (
        "weights.1.offset",
        128,
        r"manifest.weights must be inside the section of 192 bytes, not 256 bytes long",
    ),
    ("weights.0.bytes", 44, r"manifest.weights\[0\].bytes must be 40, what its shape and dtype take, not 44"),
    ("weights.0.dtype", "object", r"dtype must be one of float32, float16, "),
    ("weights.0.shape", [2**31 - 1] * 8, r"weights\[0\].bytes must be \d+, what its shape and dtype take"),
    ("golden", [], r"per task in the order \['semseg', 'depth'\], not \[\]"),
    ("golden.0.inputs.0.shape", [1, 3, 5, 6], r"golden of semseg: image must be a part of \[1, 3, 4, 6\]"),
    ("golden.0.inputs.0.shape", [1, 3, 4], r"golden of semseg: image must be a part of"),
    ("golden.0.output_stride", 2, r"golden of semseg: output_elements must be 60, one in 2, not 120"),
    ("golden.0.tolerance", -1, r"tolerance must be a number from 0 to 3.40282e\+38, not -1"),
]


@pytest.mark.parametrize(("place", "value", "message"), CASES)
def test_refused(place: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_manifest(samples.changed(place, value))


def test_golden_too_large() -> None:
    large = samples.changed("inputs.0.shape", [1, 3, 400, 400])
    large = samples.changed("golden.0.inputs.0.shape", [1, 3, 400, 400], large)
    with pytest.raises(ConfigError, match=r"golden of semseg must be at most 1048576 bytes, not 1920"):
        parse_manifest(large)


def _every_object(document: Any, way: str = "") -> list[str]:
    found = [way] if isinstance(document, dict) else []
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return found + [place for key, value in items for place in _every_object(value, f"{way}.{key}".strip("."))]


@pytest.mark.parametrize("place", _every_object(samples.document()))
def test_fields_are_all_there_and_no_more(place: str) -> None:
    document = samples.document()
    inner: Any = document
    for step in filter(None, place.split(".")):
        inner = inner[int(step) if step.isdigit() else step]
    shown = "manifest" + "".join(f"[{s}]" if s.isdigit() else f".{s}" for s in filter(None, place.split(".")))
    if shown != "manifest.program.tasks":
        with_more = samples.changed(f"{place}.surprise".strip("."), 1)
        with pytest.raises(ConfigError) as caught:
            parse_manifest(with_more)
        assert str(caught.value).startswith(f"{shown} must not have the field 'surprise'; use a newer edgemtl")
    for key in list(inner):
        less = copy.deepcopy(document)
        target: Any = less
        for step in filter(None, place.split(".")):
            target = target[int(step) if step.isdigit() else step]
        del target[key]
        with pytest.raises(ConfigError, match=f"must have the field '{key}'|program.tasks must be the tasks"):
            parse_manifest(less)


def test_not_an_object() -> None:
    with pytest.raises(ConfigError, match=r"manifest must be an object, not \[\]"):
        parse_manifest([])


def test_the_list_of_sections(tmp_path: Path) -> None:
    described = samples.listed(samples.document())
    for place, value, message in (
        (
            "sections.0.name",
            "weights.bin",
            r"manifest.sections must be golden/depth/input_0.npy, .*, in this order, not",
        ),
        ("sections.0.bytes", 1, r"manifest.sections: golden/depth/input_0.npy must be 416 bytes, not 1 bytes"),
        ("sections.5.bytes", 1, r"manifest.sections: weights.bin must be 192 bytes, not 1 bytes"),
        ("sections.0.sha256", "x", r"manifest.sections\[0\].sha256 must be a SHA-256"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_manifest(samples.changed(place, value, described))


def test_a_file_must_list_its_sections(tmp_path: Path) -> None:
    text = samples.manifest().to_bytes()
    with pytest.raises(ConfigError, match=r"manifest.sections must be golden/depth/input_0.npy, .*, not empty"):
        open_bundle(samples.pack(tmp_path / "a", samples.members(text)))


def test_newer_schema_in_a_file(tmp_path: Path) -> None:
    newer = samples.changed("schema_version", 7)
    newer["a field of the future"] = 1
    with pytest.raises(ConfigError, match="schema_version must be 3, not 7; update edgemtl"):
        open_bundle(samples.pack(tmp_path / "a", samples.members(newer)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_anywhere(data: st.DataObject) -> None:
    """Any JSON in any place: a manifest, or a ConfigError."""
    document = samples.listed(samples.document())
    inner: Any = document
    while True:
        key = data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        deeper = inner[key]
        if not (isinstance(deeper, dict | list) and deeper and data.draw(st.booleans())):
            break
        inner = deeper
    inner[key] = data.draw(JSON)
    try:
        manifest = parse_manifest(document)
    except ConfigError:
        return
    assert parse_manifest(manifest.to_json()) == manifest
