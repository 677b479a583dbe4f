"""A bundle for an aarch64 board, run under emulation by the runner without Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgemtl.bundle import open_bundle, write_bundle
from edgemtl.driver import compile_model
from edgemtl.emulation import find_emulator, native_runner
from edgemtl.errors import EdgemtlError, SelftestError, UnsupportedError
from edgemtl.options import CompileOptions
from edgemtl.processor import resolve
from edgemtl.selftest import verify_bundle
from examples.smooth_images import smooth_images
from tests.runtime import native, programs
from tests.support.models import SMALL, build_and_export, small_config


def _obstacle() -> str:
    """Why aarch64 programs cannot be run here, or nothing."""
    try:
        find_emulator("aarch64")
    except UnsupportedError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(_obstacle()), reason=_obstacle())


@pytest.fixture(scope="module")
def runner() -> Iterator[list[str]]:
    with native_runner(find_emulator("aarch64")) as command:
        yield command


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
            found = native.run(runner, program, golden.inputs, tmp_path, [task.name])[task.name]
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
            found = native.run(runner, program, golden.inputs, tmp_path, [task.name])[task.name]
            np.testing.assert_array_equal(found.reshape(-1)[:: golden.output_stride], golden.output)


def test_compile_runs_the_self_test_under_emulation(tmp_path: Path) -> None:
    _, model = build_and_export(SMALL, 0, tmp_path)
    result = compile_model(model, CompileOptions(target="cpu-a53"), tmp_path / "a.edgemtl")
    assert result.notes[-1] == "self-test run under qemu-aarch64"


def test_a_program_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    """Its weights are halved, its golden outputs are of the right ones."""
    _, model = build_and_export(SMALL, 0, tmp_path)
    compile_model(model, CompileOptions(target="cpu-a53", selftest=False), tmp_path / "a.edgemtl")
    with open_bundle(tmp_path / "a.edgemtl") as opened:
        manifest = opened.manifest
        sections = {section.name: opened.member(section.name) for section in manifest.sections}
    weights = bytearray(sections["weights.bin"])
    for tensor in (tensor for tensor in manifest.weights if tensor.dtype == "float32"):
        np.frombuffer(weights, np.float32, tensor.bytes // 4, tensor.offset)[:] *= np.float32(0.5)
    verify = partial(verify_bundle, tasks=(), quantised=None)
    with pytest.raises(SelftestError, match=r"must give what the model gives: task .* on the .* golden input"):
        write_bundle(tmp_path / "b.edgemtl", manifest, {**sections, "weights.bin": bytes(weights)}, verify)
    with pytest.raises(SelftestError, match=r"and did not: task .* must run under qemu-aarch64"):
        write_bundle(tmp_path / "b.edgemtl", manifest, {**sections, "program/cpu.so": b"no library"}, verify)
    assert not (tmp_path / "b.edgemtl").exists()


def test_a_compiler_that_fails_is_said() -> None:
    emulator = replace(find_emulator("aarch64"), compiler="false")
    with pytest.raises(EdgemtlError, match="the native runner must compile with false: "), native_runner(emulator):
        pass
