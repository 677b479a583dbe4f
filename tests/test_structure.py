"""How large files and functions are, how operands are asked for and what things are called: read off the source.

Run with -s for the figures.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.source import ROOT, imported_modules, module_of, source_files, tree_of

FILE_LINES, FUNCTION_LINES = 400, 60
OPERANDS = ("inputs", "outputs", "constants")
TENSE = {"held", "made", "found", "kept", "wanted"}
"""Words that say what was done to get a value, not what it is."""
TWINS = {
    ("Board", "edgemtl.hw.sim.functional.board", "edgemtl.hw.board"),
    ("Host", "edgemtl.runtime.devices.hosts", "edgemtl.bundle.fpga"),
    ("Memory", "edgemtl.hw.sim.functional.memory", "edgemtl.hw.board"),
    ("Memory", "edgemtl.runtime.records", "edgemtl.hw.board"),
    ("Part", "edgemtl.hw.sim.energy", "edgemtl.hw.board"),
}
"""Classes of equal name in two modules of which the first imports the second, maybe through others; to be none."""

FILES = {str(path.relative_to(ROOT)): path for path in source_files()}


def _functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def _positional(tree: ast.AST) -> Iterator[int]:
    """Lines that ask for an operand by its number."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr in OPERANDS:
            index = node.slice.operand if isinstance(node.slice, ast.UnaryOp) else node.slice
            if isinstance(index, ast.Constant) and isinstance(index.value, int):
                yield node.lineno


def _identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What a file names itself: variables, arguments, fields, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def _of_one_tense(name: str) -> bool:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return bool(TENSE & {word.lower() for word in words})


def _imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Module to the modules of ours that it imports by itself."""
    imports: dict[str, set[str]] = defaultdict(set)
    for module, path in modules.items():
        for node in ast.walk(tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            for target in imported_modules(node):
                candidates = [target, *(f"{target}.{name}" for name in names)]
                imports[module].update(name for name in candidates if name in modules)
    return imports


def _reachable(module: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    queue = [module]
    while queue:
        new = imports[queue.pop()] - seen
        seen |= new
        queue += new
    return seen


def _twins(modules: dict[str, Path]) -> Iterator[tuple[str, str, str]]:
    owners: dict[str, list[str]] = defaultdict(list)
    for module, path in modules.items():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                owners[node.name].append(module)
    imports = _imports(modules)
    reachable = {
        module: _reachable(module, imports) for several in owners.values() for module in several[1:] + several[:1]
    }
    for name, several in owners.items():
        yield from ((name, a, b) for a in several for b in several if a != b and b in reachable[a])


def _modules() -> dict[str, Path]:
    return {".".join(("edgemtl", *module_of(path))).removesuffix(".__init__"): path for path in FILES.values()}


def test_files_are_short():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
    print(f"\n{len(lines)} files, median {statistics.median(lines.values()):.0f} lines, largest {max(lines.values())}")
    assert not [name for name, count in lines.items() if count > FILE_LINES]


def test_functions_are_short():
    lengths = {(name, f): count for name, path in FILES.items() for f, count in _functions(tree_of(path))}
    print(f"\n{len(lengths)} functions, median {statistics.median(lengths.values()):.0f} lines")
    assert not [where for where, count in lengths.items() if count > FUNCTION_LINES]


def test_operands_are_asked_for_by_name():
    positions = [
        f"{name}:{line}"
        for name, path in FILES.items()
        if not name.startswith("edgemtl/operators/")
        for line in _positional(tree_of(path))
    ]
    assert not positions, "\n".join(positions)


def test_no_two_classes_of_one_name_meet():
    twins = {*_twins(_modules())}
    print(f"\n{len(twins)} pairs of classes of one name in one import chain")
    assert twins == TWINS, "\n".join(map(str, sorted(twins ^ TWINS)))


def test_names_say_what_values_are():
    names = [
        f"{name}:{line}: {identifier}"
        for name, path in FILES.items()
        for identifier, line in _identifiers(tree_of(path))
        if _of_one_tense(identifier)
    ]
    print(f"\n{len(names)} identifiers of one tense")
    assert not names, "\n".join(names)


def test_the_rules_themselves():
    assert [*_positional(ast.parse("a.inputs[0]; b.outputs[-1]; c.inputs[i]; d[0]; e.inputs[1:]"))] == [1, 1]
    assert {name for name, _ in _identifiers(ast.parse("def f(a): b.c = d = e"))} == {"f", "a", "d", "c"}
    assert [*filter(_of_one_tense, ("made", "_is_held", "FoundHere", "KEPT", "maker", "founded"))] == [
        *("made", "_is_held", "FoundHere", "KEPT")
    ]
    source = "async def f():\n    x\n    y"
    assert [*_functions(ast.parse(source))] == [("f", 3)]
