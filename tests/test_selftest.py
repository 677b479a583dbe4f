"""A compiled bundle must pass its self-test before it is there."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgemtl import emulation, frontend, partition
from edgemtl.bundle import FpgaProgram, open_bundle, write_bundle
from edgemtl.driver import compile_model
from edgemtl.emulation import find_emulator
from edgemtl.errors import SelftestError, UnsupportedError
from edgemtl.options import CompileOptions
from edgemtl.runtime import Session
from edgemtl.selftest import choose_way, find_misses, verify_bundle
from edgemtl.tvm_bridge.kernels import linear
from tests.support.models import build_and_export, small_config

SIMPLE = CompileOptions(tasks=("depth",))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_and_export(small_config(), 0, tmp_path_factory.mktemp("model"))[1]


@pytest.fixture(scope="module")
def bundle(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "app.edgemtl"
    assert not any("self-test" in note for note in compile_model(model, SIMPLE, path).notes)
    return path


def test_a_good_bundle_passes_on_both_inputs(bundle):
    with Session.open(bundle) as session:
        results = session.selftest()
    assert [(r.task, r.case, r.passed) for r in results] == [("depth", "plain", True), ("depth", "skewed", True)]
    assert all(r.max_abs_error <= 1e-4 * r.scale for r in results)


def test_a_kernel_that_computes_something_else_is_caught_and_named(model, tmp_path, monkeypatch):
    """Linear layers get weights that are a little off: what a wrong kernel would do."""
    right = linear.pack

    def wrong(spec: object, target: object, weight: np.ndarray, *rest: np.ndarray) -> object:
        return right(spec, target, (weight * 1.01).astype(np.float32), *rest)

    monkeypatch.setattr(linear, "pack", wrong)
    text = r"must give what the model gives: task depth on the \w+ golden input: relative error \d.*, 1.0e-04 allowed"
    with pytest.raises(SelftestError, match=text) as caught:
        compile_model(model, SIMPLE, tmp_path / "app.edgemtl")
    assert "the first layer that parts: backbone.blocks.0" in str(caught.value)
    assert not list(tmp_path.iterdir())
    result = compile_model(model, replace(SIMPLE, selftest=False), tmp_path / "app.edgemtl")
    assert "self-test not run: --no-selftest" in result.notes
    with open_bundle(result.bundle) as opened:
        assert "self-test not run: --no-selftest" in opened.manifest.notes


def test_a_bundle_that_was_there_stays_where_the_new_one_fails(bundle, model, tmp_path):
    """Its weights are wrong; compiled again for the comparison they are right, so no layer parts."""
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
        sections = {section.name: opened.member(section.name) for section in manifest.sections}
    weights = bytearray(sections["weights.bin"])
    for tensor in (tensor for tensor in manifest.weights if tensor.dtype == "float32"):
        np.frombuffer(weights, np.float32, tensor.bytes // 4, tensor.offset)[:] *= np.float32(1.5)
    target = tmp_path / "app.edgemtl"
    target.write_text("an older one")
    tasks = partition.partition(frontend.read_model(model), ("depth",), "exact")
    verify = partial(verify_bundle, tasks=tasks, quantised=None)
    with pytest.raises(SelftestError, match="the first layer that parts: none, so the model was read as another one"):
        write_bundle(target, manifest, {**sections, "weights.bin": bytes(weights)}, verify)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("app.edgemtl", "an older one")]


def test_a_program_that_does_not_run(bundle, tmp_path):
    with open_bundle(bundle) as opened:
        manifest = opened.manifest
        sections = {section.name: opened.member(section.name) for section in manifest.sections}
    path = tmp_path / "app.edgemtl"
    write_bundle(path, manifest, {**sections, "program/cpu.so": b"no library"})
    with pytest.raises(SelftestError, match="must run its self-test, and did not: "):
        find_misses(path, manifest.program)


def test_what_this_machine_cannot_run_is_said(bundle, model, tmp_path):
    with open_bundle(bundle) as opened:
        program = opened.manifest.program
    assert not isinstance(program, FpgaProgram)
    assert choose_way(program) is None
    foreign = replace(program, target=replace(program.target, triple="riscv64-linux-gnu"))
    text = "its code is for riscv64, .*, and there is no emulator for riscv64; run the bundle on its device"
    with pytest.raises(UnsupportedError, match=text):
        choose_way(foreign)
    wide = replace(program, target=replace(program.target, vector_bits=1024))
    with pytest.raises(UnsupportedError, match="has no vectors of 1024 bits; run `edgemtl selftest` on its device"):
        choose_way(wide)


def test_what_an_emulator_lacks_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="emulation: qemu-aarch64 is not installed; apt-get install qemu-user"):
        find_emulator("aarch64")
    for name in ("qemu-aarch64", "aarch64-linux-gnu-g++", "make"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setattr(emulation, "NATIVE", tmp_path)
    with pytest.raises(
        UnsupportedError,
        match=f"TVM's runtime for aarch64 is not in {tmp_path}/aarch64; .*/fetch_aarch64.sh fetches it",
    ):
        find_emulator("aarch64")
