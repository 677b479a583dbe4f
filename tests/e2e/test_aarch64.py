"""A bundle for an aarch64 board, run under emulation by the runner without Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgemtl.bundle import open_bundle
from edgemtl.driver import compile_model
from edgemtl.options import CompileOptions
from edgemtl.tvm_bridge.target import resolve
from tests.runtime import native, programs
from tests.support.models import SMALL, build_and_export, small_config
from tests.support.scenes import smooth_images

COMPILER, EMULATOR, SYSTEM = "aarch64-linux-gnu-g++", "qemu-aarch64", Path("/usr/aarch64-linux-gnu")
LIBRARIES = native.ROOT / "third_party" / "aarch64"


def _missing() -> str:
    """What this machine lacks, or nothing."""
    for tool in (COMPILER, EMULATOR):
        if shutil.which(tool) is None:
            return f"{tool} is not installed: apt-get install qemu-user g++-aarch64-linux-gnu"
    wheels = [LIBRARIES / name for name in ("libtvm_runtime.so", "libtvm_ffi.so")]
    if not all(path.is_file() for path in wheels):
        return "TVM's runtime for aarch64 is not there: runtime/native/fetch_aarch64.sh"
    return ""


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing())


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    built = native.build(tmp_path_factory.mktemp("build") / "edgemtl_run", f"CXX={COMPILER}", f"LIBS={LIBRARIES}")
    return [EMULATOR, "-L", str(SYSTEM), str(built)]


def test_small_program(runner: list[str], tmp_path: Path) -> None:
    """Same bits as the formula: no operation of it may be fused or reordered."""
    bundle = programs.write(tmp_path / "a.edgemtl", target=resolve("cpu-a53"))
    program = native.extract(bundle, tmp_path / "program")
    tasks = list(programs.WEIGHTS)
    found = native.run(runner, program, programs.picture(1), tmp_path, tasks)
    for task in tasks:
        np.testing.assert_array_equal(found[task], programs.expected(task, programs.picture(1)))


def test_m3vit(runner: list[str], tmp_path: Path) -> None:
    """Every task of a small M3ViT on its golden input, against onnxruntime's answer."""
    _, model = build_and_export(SMALL, 0, tmp_path)
    compile_model(model, CompileOptions(target="cpu-a53"), tmp_path / "a.edgemtl")
    program = native.extract(tmp_path / "a.edgemtl", tmp_path / "program")
    with open_bundle(tmp_path / "a.edgemtl") as bundle:
        assert bundle.manifest.program.target.triple == "aarch64-linux-gnu"
        for task in bundle.manifest.tasks:
            golden = bundle.golden(task.name)
            found = native.run(runner, program, golden.input, tmp_path, [task.name])[task.name]
            kept = found.reshape(-1)[:: golden.output_stride]
            np.testing.assert_allclose(kept, golden.output, rtol=0, atol=golden.tolerance)


def test_m3vit_in_int8(runner: list[str], tmp_path: Path) -> None:
    """Every task in integers gives the law's bits: the golden outputs are its, and their tolerance is 0."""
    _, model = build_and_export(small_config(head_channels=(12, 8, 6)), 0, tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for index, image in enumerate(smooth_images((1, 3, *SMALL.image), 8)):
        np.save(images / f"{index}.npy", image)
    options = CompileOptions(target="cpu-a53", precision="int8", calibration=images)
    compile_model(model, options, tmp_path / "a.edgemtl")
    program = native.extract(tmp_path / "a.edgemtl", tmp_path / "program")
    with open_bundle(tmp_path / "a.edgemtl") as bundle:
        for task in bundle.manifest.tasks:
            golden = bundle.golden(task.name)
            assert golden.tolerance == 0
            found = native.run(runner, program, golden.input, tmp_path, [task.name])[task.name]
            np.testing.assert_array_equal(found.reshape(-1)[:: golden.output_stride], golden.output)
