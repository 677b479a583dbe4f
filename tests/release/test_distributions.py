"""What `make release` builds, installed in fresh environments outside the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgemtl.cli.app import main
from edgemtl.extras import EXTRAS
from edgemtl.runtime import Session
from tests.release.base_verbs import DEVICE_VERBS, OTHER_VERBS, verb_of, write_frame
from tests.support.models import build_and_export, small_config
from tests.support.run import run_onnx

ROOT = Path(__file__).parents[2]
TOOLS = ("build==1.6.1", "setuptools-scm==10.3.4")
LIBRARY = "edgemtl/runtime/lib/libtvm_runtime.so"
MOST_BYTES = 8 << 20
"""Of a wheel: the library of the runtime is 3.4 MB unpacked, the compiler's would be 260."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="distributions are built from git's files"),
]


@dataclass(frozen=True)
class Environment:
    """A virtual environment. Nothing of this process's environment or folder reaches what runs in it."""

    folder: Path

    def run(self, program: str, *words: object, cwd: Path, code: int = 0) -> str:
        """Both streams of a program that must end with ``code``."""
        command = [str(self.folder / "bin" / program), *map(str, words)]
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LD_"))}
        done = subprocess.run(command, cwd=cwd, env=plain, stdout=-1, stderr=-2, text=True, check=False)
        assert done.returncode == code, f"{words}: {done.stdout}"
        return done.stdout

    def install(self, *requirements: object) -> None:
        """Install with pip."""
        self.run("pip", "install", "--quiet", "--disable-pip-version-check", *requirements, cwd=self.folder)


def make_environment(folder: Path) -> Environment:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return Environment(folder)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = make_environment(tmp_path_factory.mktemp("tools") / "venv")
    made.install(*TOOLS)
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of what is committed."""
    folder = tmp_path_factory.mktemp("source") / "edgemtl"
    git(ROOT, "clone", "--quiet", str(ROOT), str(folder))
    return folder


@pytest.fixture(scope="module")
def built(
    source: Path, tools: Environment, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder with the source distribution and the wheel that was built from it."""
    folder = pytestconfig.getoption("release_to") or tmp_path_factory.mktemp("dist")
    shutil.rmtree(folder, ignore_errors=True)
    tools.run("python", "-m", "build", "--outdir", folder.resolve(), source, cwd=source)
    return folder.resolve()


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def device(request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A base install."""
    made = make_environment(tmp_path_factory.mktemp("device") / "venv")
    made.install(only(built, request.param))
    return made


@pytest.fixture
def demo(compiled: Path, tmp_path: Path) -> Path:
    """A folder of the test's own with the trained demo model, its bundle and an input."""
    return Path(shutil.copytree(compiled, tmp_path / "demo"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every test of the demo begins with."""
    folder = tmp_path_factory.mktemp("compiled")
    checkpoint = ROOT / "examples" / "rooms" / "m3vit_demo.safetensors"
    assert main(["-q", "export", "--checkpoint", str(checkpoint), "-o", str(folder / "model.onnx")]) == 0
    assert main(["-q", "compile", str(folder / "model.onnx"), "-o", str(folder / "app.edgemtl")]) == 0
    with Session.open(folder / "app.edgemtl") as session:
        write_frame(folder, session.input.shape)
    return folder


def package_files() -> set[str]:
    """The files of the package as git has them, their links followed; what builds the runner needs the repository."""
    links = {name: f"edgemtl/{name}" for name in ("exporters", "hw", "runtime")}
    names = [name for name in git(ROOT, "ls-files").splitlines() if name not in links.values()]
    placed = {f"edgemtl/{name}" if name.split("/")[0] in links else name for name in names}
    return {name for name in placed if name.startswith("edgemtl/") and not name.endswith((".sh", "Makefile"))}


def test_both_hold_the_package_and_no_tests(built):
    wheel = {n for n in zipfile.ZipFile(only(built, "*.whl")).namelist() if ".dist-info/" not in n}
    added = {LIBRARY, *(f"edgemtl/runtime/lib/{name}" for name in ("LICENSE", "NOTICE"))}
    assert wheel == package_files() | added
    archive = tarfile.open(only(built, "*.tar.gz"))
    names = {m.name.split("/", 1)[-1] for m in archive.getmembers() if m.isfile()}
    assert {n for n in names if n.startswith("edgemtl/")} == package_files()
    assert not [m.name for m in archive.getmembers() if m.issym() or m.islnk() or "/tests" in m.name]
    assert {"pyproject.toml", "build_backend/edgemtl_build.py", "LICENSE", "README.md"} <= names


def test_the_wheel_is_small_and_says_for_which_system(built):
    path = only(built, "*.whl")
    assert path.stat().st_size < MOST_BYTES
    assert re.fullmatch(r"edgemtl-[^-]+-py3-none-manylinux_[\w.]+", path.stem)


def test_an_install_says_its_version(device, built, tmp_path):
    version = only(built, "*.tar.gz").name.removeprefix("edgemtl-").removesuffix(".tar.gz")
    assert device.run("edgemtl", "--version", cwd=tmp_path) == f"edgemtl {version}\n"


def test_a_release_has_its_section_of_the_changelog(built):
    version = only(built, "*.tar.gz").name.removeprefix("edgemtl-").removesuffix(".tar.gz")
    assert ".dev" in version or f"\n## [{version}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_a_base_install_has_no_package_of_an_extra(device, tmp_path):
    installed = set(device.run("pip", "list", "--format=freeze", cwd=tmp_path).lower().split())
    names = {line.split("==")[0].replace("_", "-") for line in installed}
    assert "edgemtl" in names
    assert not names & {name for extra in EXTRAS.values() for name in extra}


@pytest.mark.parametrize("words", DEVICE_VERBS, ids=" ".join)
def test_a_base_install_runs_the_demo(device, demo, words):
    device.run("edgemtl", *words, cwd=demo)


def test_doctor_passes_and_says_what_would_bring_the_rest(device, tmp_path):
    said = device.run("edgemtl", "doctor", cwd=tmp_path)
    assert re.search(r"libtvm_runtime.so +│ +ok │ +\S+/site-packages/edgemtl/runtime/lib/libtvm_runtime.so │", said)
    assert re.search(r"apache-tvm +│ not installed │ +pip install 'edgemtl\[compile\]' │", said)
    assert "MISSING" not in said


def test_a_base_install_gives_what_the_model_gives(device, demo):
    device.run("edgemtl", "run", "app.edgemtl", "--input", "frame.npy", "-o", "out", cwd=demo)
    for name, expected in run_onnx(demo / "model.onnx", {"image": np.load(demo / "frame.npy")}).items():
        output = np.load(demo / "out" / f"frame_{name}.npy")
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("words", "extra"), OTHER_VERBS, ids=[verb_of(words) for words, _ in OTHER_VERBS])
def test_a_base_install_names_the_extra_a_verb_needs(device, demo, words, extra):
    assert f"pip install 'edgemtl[{extra}]'" in device.run("edgemtl", *words, cwd=demo, code=3)


def test_the_extra_compile_is_all_that_compile_needs(built, tmp_path):
    """No torch, no yaml, nothing that this repository's own environment happens to have."""
    made = make_environment(tmp_path / "venv")
    made.install(f"{only(built, '*.whl')}[compile]")
    model = build_and_export(small_config(), 0, tmp_path)[1]
    made.run("edgemtl", "compile", model, "-o", "b.edgemtl", cwd=tmp_path)
    assert "FAILED" not in made.run("edgemtl", "selftest", "b.edgemtl", cwd=tmp_path)


def test_the_version_is_the_last_tag(source, tools, tmp_path):
    """A tag, commits after it, a changed file, no tags, no git."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--no-tags", str(source), str(clone))

    def version():
        return tools.run("python", "-m", "setuptools_scm", cwd=clone).splitlines()[-1]

    assert re.fullmatch(r"0\.2\.0\.dev\d+", version())
    git(clone, "tag", "v9.8.7")
    assert version() == "9.8.7"
    (clone / "README.md").write_text("changed")
    assert version() == "9.8.8.dev0"
    git(clone, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qam", "Change the README")
    assert version() == "9.8.8.dev1"
    shutil.rmtree(clone / ".git")
    assert version() == "0.2.0.dev0"
