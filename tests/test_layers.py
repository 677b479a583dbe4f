"""Who may import whom, read off the source: the order of the rooms, and the libraries that have a place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.source import LINKED, ROOT, imported_modules, module_of, source_files, tree_of

LEAVES = {
    *(
        "errors",
        "extras",
        "suggest",
        "progress",
        "units",
        "vocabulary",
        "options",
        "merge_options",
        "images",
        "paths",
        "processor",
    ),
    *("bundle", "host", "signing", "operators", "records"),
    *(
        "hw.operands",
        "hw.isa_vector",
        "hw.isa",
        "hw.geometry",
        "hw.rules",
        "hw.timing",
        "hw.arith",
        "hw.law",
        "hw.law_weightless",
        "hw.law_weights4",
        "hw.law_generic",
    ),
    *("hw.board", "hw.resources", "hw.spec", "hw.datasheet", "hw.regions"),
    *(
        "hw.encoding",
        "hw.extents",
        "hw.checker",
        "hw.registers",
        "hw.register_documents",
        "hw.isa_documents",
        "hw.synthesis",
    ),
}
ORDER = [
    "graph",
    "onnx_runtime",
    "frontend",
    "inputs",
    "partition",
    "schedule",
    "merge",
    "tvm_bridge",
    "lowering",
    "quantize",
    "codegen",
    "support",
    "results",
    "stages",
    "compare",
    "report",
    "evaluate",
    "profiling",
    "vectors",
    "golden",
    "emulation",
    "selftest",
    "checking",
    "driver",
    "doctor",
    "cli",
    "__main__",
]
BESIDE = {"runtime": LEAVES | {"hw.sim"}, "hw.sim": LEAVES, "exporters": LEAVES | {"graph", "frontend", "onnx_runtime"}}
"""Rooms off the way of the data, and what they may import."""
RUNTIME_USERS = {"vectors", "compare", "evaluate", "profiling", "emulation", "selftest", "driver", "doctor", "cli"}
"""Only what runs programs knows the runtime."""
SIMULATION_USERS = {"report", "profiling", "driver"}
"""Only what profiles knows how streams are simulated."""

DEVICE = {"numpy", "tvm_ffi"}
"""Libraries a device has."""
OWNERS = {
    "tvm": {"tvm_bridge"},
    "torch": {"exporters"},
    "safetensors": {"exporters"},
    "yaml": {"exporters"},
    "ortools": {"schedule"},
    "onnxscript": {"frontend", "exporters"},
    "typer": {"cli"},
    "rich": {"cli"},
    "plotly": {"report"},
    "jinja2": {"report"},
    "click": {"cli"},
    "cryptography": {"signing"},
}
"""Libraries that only these rooms import."""


class Import(NamedTuple):
    """One import statement: where, of what, and whether it runs only when a function is called."""

    file: str
    room: str
    target: str
    in_function: bool


def _room(module: tuple[str, ...]) -> str:
    """The room a module belongs to; hw's parts are rooms of their own, and what kernels compute needs no TVM."""
    return ".".join(module[:2]) if module[0] == "hw" else module[0]


def _imports() -> Iterator[Import]:
    for path in source_files():
        room, tree = _room(module_of(path)), tree_of(path)
        inside = {
            child
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.walk(node)
        }
        for node in ast.walk(tree):
            for target in imported_modules(node):
                yield Import(str(path.relative_to(ROOT)), room, target, node in inside)


IMPORTS = [*_imports()]
OURS = [(i, _room(tuple(i.target.split(".")[1:]))) for i in IMPORTS if i.target.startswith("edgemtl.")]
THEIRS = [(i, i.target.split(".")[0]) for i in IMPORTS if not i.target.startswith("edgemtl")]


def _allowed(room: str, target: str) -> bool:
    if room == target or target in LEAVES:
        return room not in LEAVES or target in LEAVES
    if room in BESIDE:
        return target in BESIDE[room]
    if target == "runtime":
        return room in RUNTIME_USERS
    if target == "hw.sim":
        return room in SIMULATION_USERS
    if target == "exporters":
        return room == "cli"
    return room in ORDER and target in ORDER and ORDER.index(target) < ORDER.index(room)


def test_rooms_import_downwards_only():
    wrong = [i for i, target in OURS if not _allowed(i.room, target)]
    assert not wrong, "\n".join(f"{i.file} imports {i.target}" for i in wrong)


def test_exporters_are_imported_when_asked_for_only():
    early = [i for i, target in OURS if target == "exporters" and i.room != "exporters" and not i.in_function]
    assert not early, "\n".join(f"{i.file} imports {i.target} outside a function" for i in early)


@pytest.mark.parametrize("library", OWNERS)
def test_libraries_stay_in_their_rooms(library):
    wrong = [i for i, name in THEIRS if name == library and i.room not in OWNERS[library]]
    assert not wrong, "\n".join(f"{i.file} imports {i.target}" for i in wrong)


@pytest.mark.parametrize(("room", "libraries"), [("bundle", {"numpy"}), ("runtime", DEVICE), ("units", set())])
def test_what_a_device_imports_it_has(room, libraries):
    foreign = [i for i, name in THEIRS if i.room == room and name not in libraries | sys.stdlib_module_names]
    assert not foreign, "\n".join(f"{i.file} imports {i.target}" for i in foreign)


def test_the_planner_knows_no_graph_and_the_checker_no_planner():
    assert not [i for i, name in THEIRS if i.room == "schedule" and name.startswith(("onnx", "tvm", "numpy"))]
    ours = {i.target for i, _ in OURS if i.file == "edgemtl/schedule/checker.py"}
    assert ours == {"edgemtl.errors", "edgemtl.schedule.model"}


def test_kernels_and_the_law_do_not_use_what_an_operator_computes():
    """They are checked against it."""
    alone = [path for path in source_files() if "kernels" in path.parts or "hw" in path.resolve().parts]
    assert len(alone) > 50
    nodes = [node for path in alone for node in ast.walk(tree_of(path))]
    assert not [node for node in nodes if isinstance(node, ast.Attribute) and node.attr == "compute"]


@pytest.mark.parametrize(("call", "owner"), [("onnxruntime.InferenceSession", "onnx_runtime"), ("os.replace", "paths")])
def test_one_module_calls(call, owner):
    """Sessions have the same options everywhere, and files are whole or not there."""
    nodes = [(path, node) for path in source_files() for node in ast.walk(tree_of(path))]
    calls = [path.stem for path, node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == call]
    assert {*calls} == {owner}


def test_benchmarks_and_examples_do_not_need_the_tests():
    paths = [path for folder in ("benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 20
    nodes = [(path, node) for path in paths for node in ast.walk(tree_of(path))]
    assert not [str(path) for path, node in nodes for name in imported_modules(node) if name.split(".")[0] == "tests"]


@pytest.mark.parametrize("name", [name for name in LINKED if (ROOT / name).exists()])
def test_linked_rooms_are_the_same_files(name):
    link = ROOT / "edgemtl" / name
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.samefile(ROOT / name)


def test_every_room_has_a_place():
    rooms = {_room(module_of(path)) for path in source_files()} - {"__init__", "hw"}
    assert rooms <= LEAVES | set(ORDER) | set(BESIDE), rooms
    assert {"edgemtl/frontend/reader.py", "edgemtl/schedule/planner.py"} <= {i.file for i in IMPORTS}


@pytest.mark.parametrize(
    ("room", "target", "allowed"),
    [
        ("partition", "frontend", True),
        ("frontend", "partition", False),
        ("schedule", "errors", True),
        ("bundle", "errors", True),
        ("bundle", "frontend", False),
        ("errors", "driver", False),
        ("runtime", "bundle", True),
        ("runtime", "schedule", False),
        ("runtime", "onnx_runtime", False),
        ("exporters", "onnx_runtime", True),
        ("exporters", "graph", True),
        ("runtime", "graph", False),
        ("codegen", "runtime", False),
        ("driver", "exporters", False),
        ("cli", "exporters", True),
        ("hw.sim", "hw.law", True),
        ("hw.sim", "codegen", False),
        ("report", "hw.sim", True),
        ("codegen", "hw.sim", False),
    ],
)
def test_the_rules_themselves(room, target, allowed):
    assert _allowed(room, target) == allowed
