"""What a base install runs imports only what a base install has; read off the source, whichever verb is taken."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from edgemtl.extras import BASE, EXTRAS

ROOT = Path(__file__).parents[1]
ROOTS = ("cli.app", "cli.deploy", "cli.measure", "doctor", "runtime", "bundle", "evaluate.predict", "evaluate.folder")
VERBS = {"cli.deploy", "cli.measure"}
"""The modules of cli whose verbs a device has: others import the compiler inside their functions."""
APART = ("cli",)
"""Rooms whose functions a device does not call, apart from those verbs."""
CHECKED = {"cryptography": {"signing"}}
"""Packages of an extra that a device may have, and the modules that refuse to work where it has not."""


def path_of(module: str) -> Path | None:
    path = ROOT / "edgemtl" / Path(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def statements(module: str) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements a module may run; those inside functions only where a device calls them."""
    called = module in VERBS or module.split(".")[0] not in APART
    pending: list[ast.AST] = [ast.parse(path_of(module).read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending.extend(node.orelse)
        elif called or not isinstance(node, ast.FunctionDef):
            pending.extend(ast.iter_child_nodes(node))


def names(statement: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    return [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]


def reach() -> tuple[set[str], dict[str, set[str]]]:
    """The project's modules that are reached, and every other package with the modules that import it."""
    modules, foreign, pending = set(), {}, [*ROOTS]
    while pending:
        module = pending.pop()
        if module in modules or path_of(module) is None:
            continue
        modules.add(module)
        pending.extend(module.rpartition(".")[:1])
        for name in (name for statement in statements(module) for name in names(statement)):
            if name.split(".")[0] == "edgemtl":
                pending.append(name.removeprefix("edgemtl").removeprefix("."))
            else:
                foreign.setdefault(name.split(".")[0], set()).add(module)
    return modules, foreign


def test_the_device_path_imports_only_base_packages():
    modules, foreign = reach()
    assert {"runtime.session", "bundle.reader", "evaluate.latency", "processor"} <= modules
    allowed = {*BASE.values(), *sys.stdlib_module_names}
    assert {name: owners for name, owners in foreign.items() if name not in allowed} == CHECKED


def test_the_compiler_is_not_reached():
    modules, _ = reach()
    compiler = {"driver", "frontend", "lowering", "tvm_bridge", "codegen", "exporters"}
    assert not [m for m in modules if m.split(".")[0] in compiler]


def test_the_tables_of_packages_are_those_of_the_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [*BASE] == [distribution(pin) for pin in project["dependencies"]]
    for extra, modules in EXTRAS.items():
        assert [*modules] == [distribution(pin) for pin in project["optional-dependencies"][extra]]


def distribution(pin: str) -> str:
    return pin.split("==")[0].split(">=")[0]
