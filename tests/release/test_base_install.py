"""A base install, acted: the program in a process in which no other package can be imported."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgemtl.cli.app import main
from edgemtl.extras import BASE, EXTRAS
from edgemtl.runtime.library import find_runtime
from tests.release.base_verbs import DEVICE_VERBS, OTHER_VERBS, verb_of, write_frame
from tests.support.models import build_and_export, small_config

PROGRAM = """
import importlib.machinery, sys

absent = set(sys.argv.pop(1).split(","))


class BaseOnly(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in absent else super().find_spec(name, path, target)


sys.meta_path[:] = [BaseOnly if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
from edgemtl.cli.app import run

run()
"""


def base_modules() -> set[str]:
    """The modules of the base packages and of all that these require here, without extras."""
    owners = importlib.metadata.packages_distributions()
    installed = {plain(owner) for found in owners.values() for owner in found}
    pending, names = [*BASE], set()
    while pending:
        name = plain(pending.pop())
        if name in installed - names:
            names.add(name)
            required = importlib.metadata.requires(name) or ()
            pending += [re.split(r"[^\w.-]", text)[0] for text in required if "extra ==" not in text]
    return {module for module, found in owners.items() if names & {plain(owner) for owner in found}}


def plain(distribution: str) -> str:
    return distribution.lower().replace("_", "-")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device")
    model = build_and_export(small_config(), 0, tmp_path_factory.mktemp("model"))[1]
    assert main(["-q", "compile", str(model), "-o", str(folder / "app.edgemtl")]) == 0
    shutil.copy(model, folder / "model.onnx")
    write_frame(folder, (1, 3, 16, 24))
    return folder


def act(folder: Path, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run the program on base packages alone; the loader finds the runtime library, which a wheel brings."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(Path(find_runtime()).parent), "PYTHONPATH": os.getcwd()}
    absent = {*importlib.metadata.packages_distributions()} - base_modules() - {"edgemtl"}
    command = [sys.executable, "-c", PROGRAM, ",".join(sorted(absent)), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_base_has_no_compiler():
    modules = base_modules()
    assert {"numpy", "PIL", "tvm_ffi", "typer", "rich", "pygments"} <= modules
    assert not {module for extra in EXTRAS.values() for module in extra.values()} & modules


@pytest.mark.parametrize("words", DEVICE_VERBS, ids=" ".join)
def test_a_device_runs_its_verbs(folder, words):
    done = act(folder, words)
    assert (done.returncode, done.stderr.count("error")) == (0, 0), done.stderr
    assert done.stdout or words[0] == "run"


@pytest.mark.parametrize(("words", "extra"), OTHER_VERBS, ids=[verb_of(words) for words, _ in OTHER_VERBS])
def test_other_verbs_name_the_extra_they_need(folder, words, extra):
    done = act(folder, words)
    hint = rf"pip install 'edgemtl\[{extra}\]'"
    pattern = rf"error: edgemtl {verb_of(words)}: it needs [\w, ]+, and (this is|these are) not installed; {hint}\n"
    assert done.returncode == 3, done.stderr
    assert re.fullmatch(pattern, done.stderr)
    assert act(folder, (*verb_of(words).split(), "--help")).returncode == 0


@pytest.mark.parametrize(
    "verb", [words for words in DEVICE_VERBS if words[0] in ("selftest", "run", "bench")], ids=" ".join
)
def test_keys_without_the_package_that_checks_signatures_are_refused(folder, verb):
    (folder / "maker.pub").write_bytes(b"a key")
    done = act(folder, (*verb, "--keys", "maker.pub"))
    assert done.returncode == 3
    assert "signatures: the package cryptography is not installed; pip install 'edgemtl[sign]'" in done.stderr
