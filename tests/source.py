"""The project's own source as the tests of its structure see it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINKED = ("exporters", "hw", "runtime")
"""Real top-level folders, imported as edgemtl.NAME."""


def source_files() -> list[Path]:
    """Every file of the product once, by its real path where folders are linked."""
    folders = [ROOT / "edgemtl", *(ROOT / name for name in LINKED)]
    paths = [path for folder in folders if folder.is_dir() for path in folder.rglob("*.py")]
    own = {path.resolve(): path for path in paths if "__pycache__" not in path.parts}
    return sorted(own)


def module_of(path: Path) -> tuple[str, ...]:
    """A file's module below `edgemtl`; a package is that of its `__init__`."""
    parts = path.resolve().relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "edgemtl" else parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(node: ast.AST) -> list[str]:
    """Dotted names; `from edgemtl import a, b` is an import of edgemtl.a and edgemtl.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, "imports are written out from the top"
    module = node.module or ""
    if module in ("edgemtl", "edgemtl.hw"):
        return [f"{module}.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
    return [module]
