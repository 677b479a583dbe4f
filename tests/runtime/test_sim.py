"""A board's program in simulation gives the bits of the CPU's int8 program, through the same session."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgemtl.bundle import FpgaProgram, Manifest, open_bundle, write_bundle
from edgemtl.bundle.extract import extract_program
from edgemtl.errors import ConfigError, IntegrityError, UnsupportedError, UsageError
from edgemtl.host import HostStep
from edgemtl.hw.encoding import decode_stream, encode_stream, engine_digest
from edgemtl.hw.sim.cycle import Frame, simulate
from edgemtl.hw.spec import read_spec
from edgemtl.options import QuantiseOptions
from edgemtl.runtime import Session
from examples.smooth_images import smooth_images
from tests.support.boards import CONFIG, compile_to, export, needs_linker
from tests.support.models import small_config

pytestmark = needs_linker
SPEC = read_spec("zcu104")
IMAGES = smooth_images((1, 3, *CONFIG.image), 5, seed=7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def bundle(model: Path) -> Path:
    compile_to(model, model.parent / "board.edgemtl", "zcu104")
    return model.parent / "board.edgemtl"


@pytest.fixture(scope="module")
def wanted(model: Path) -> dict[str, list[np.ndarray]]:
    """What the CPU's int8 program answers."""
    compile_to(model, model.parent / "cpu.edgemtl", "cpu")
    with Session.open(model.parent / "cpu.edgemtl") as session:
        return {task: [session.run(task, image) for image in IMAGES] for task in session.tasks}


@pytest.fixture(params=[False, True], ids=["numpy", "native"])
def session(bundle: Path, request: pytest.FixtureRequest) -> Iterator[Session]:
    """The bundle in simulation, with the CPU's steps in numpy and in the bundle's library."""
    with Session.open(bundle, "sim", check_arena=True, native_host=request.param) as opened:
        yield opened


def test_every_task_alone_and_in_turn(session: Session, wanted: dict[str, list[np.ndarray]]) -> None:
    for index, image in enumerate(IMAGES):
        for task in session.tasks if index % 2 else reversed(session.tasks):
            np.testing.assert_array_equal(session.run(task, image), wanted[task][index])


def test_several_tasks_and_batches(session: Session, wanted: dict[str, list[np.ndarray]]) -> None:
    found = session.run(session.tasks[::-1], np.concatenate(IMAGES[:2]))
    for task in session.tasks:
        np.testing.assert_array_equal(found[task], np.concatenate(wanted[task][:2]))
    session.switch("depth")
    out = np.empty_like(wanted["depth"][0])
    assert session.run("depth", IMAGES[3], out=out) is out
    np.testing.assert_array_equal(out, wanted["depth"][3])


def test_selftest_has_no_tolerance(session: Session) -> None:
    assert [(r.task, r.passed, r.max_abs_error, r.tolerance) for r in session.selftest()] == [
        (task, True, 0.0, 0.0) for task in session.tasks for _ in ("plain", "skewed")
    ]


def test_times_are_not_the_boards(session: Session, wanted: dict[str, list[np.ndarray]]) -> None:
    times = session.profile("semseg", IMAGES[0])
    assert [time.step for time in times] == [0, 1, 2]
    assert {time.basis for time in times} == {"simulator"}
    assert times[1].kernel.startswith("segment0_")
    np.testing.assert_array_equal(session._device.outputs["semseg"], wanted["semseg"][0])


def test_memory_counts_windows_and_parameters(session: Session) -> None:
    program = session.program
    assert isinstance(program, FpgaProgram)
    memory, pixels = session.memory, 32 * 48
    # As bytes the patches of the image, and for each of two tasks a map of a quarter of its pixels in 16 bits.
    channels = [task.output.shape[1] for task in program.tasks.values()]
    assert memory.arena_bytes >= 3 * pixels + max(channels) * pixels // 4 * 2
    assert memory.weights_bytes == program.parameters_bytes
    assert memory.staging_bytes > 4 * 3 * pixels


def test_simulate_tells_what_a_cycle_simulator_asks(session: Session, wanted: dict[str, list[np.ndarray]]) -> None:
    (run,) = session.simulate("depth", IMAGES[1])
    program = session.program
    assert isinstance(program, FpgaProgram)
    stream = decode_stream(run.stream, program.board.engine)
    assert len(run.layer) == len(stream.instructions)
    assert run.segment.layers[run.layer.max()].name == "picture"
    assert [routes.shape for routes in run.routes] == [(24, 2)]
    assert run.early == program.tasks["depth"].segments[0].early
    (timing,) = simulate([Frame(stream, run.routes, run.early)], program.board)
    assert timing.cycles > 0
    np.testing.assert_array_equal(session._device.outputs["depth"], wanted["depth"][1])


def test_layers_in_float_lie_between_two_segments(tmp_path: Path) -> None:
    """The first segment is all tasks' own work, so it runs once; rows of 16 bits cross over and back."""
    config = small_config(dim=64, mlp_hidden=80, image=(32, 48), head_channels=(12, 8, 6), class_token=True)
    model = export(tmp_path, config)
    kept = QuantiseOptions(keep_float=("*blocks.0.mlp*",), least_sqnr_db=-200)
    for target in ("zcu104", "cpu-avx2"):
        compile_to(model, tmp_path / target, target, kept)
    with Session.open(tmp_path / "zcu104", "sim", check_arena=True) as found:
        assert isinstance(found.program, FpgaProgram)
        assert [len(task.segments) for task in found.program.tasks.values()] == [2, 2]
        assert found._device.program.common_prefix_steps > 1
        assert found.program.host("x86").cpu.weights_bytes > 0
        with Session.open(tmp_path / "cpu-avx2") as expected:
            answers = expected.run(expected.tasks, IMAGES[0])
        for task, array in found.run(found.tasks[::-1], IMAGES[0]).items():
            np.testing.assert_array_equal(array, answers[task])
        assert all(result.passed for result in found.selftest())
    with Session.open(tmp_path / "zcu104", "sim", native_host=True) as native:
        for task, array in native.run(native.tasks[::-1], IMAGES[0]).items():
            np.testing.assert_array_equal(array, answers[task])


MARK = """#include <fcntl.h>
__attribute__((constructor)) static void start(void) {{ open("{}", O_CREAT | O_WRONLY, 0600); }}
"""


@pytest.mark.parametrize("call", ["run", "profile", "simulate", "selftest"])
def test_no_code_of_the_bundle_runs_unless_asked(bundle: Path, tmp_path: Path, call: str) -> None:
    """Every library in the bundle leaves a mark when it is loaded."""
    source, library, mark = tmp_path / "mark.c", tmp_path / "mark.so", tmp_path / "mark"
    source.write_text(MARK.format(mark))
    subprocess.run(["g++", "-shared", "-fPIC", "-x", "c", source, "-o", library], check=True)
    path = rewritten(bundle, tmp_path / "a", {f"program/host_{n}.so": library.read_bytes() for n in ("a53", "x86")})
    with Session.open(path, "sim") as session:
        getattr(session, call)(*([] if call == "selftest" else ["depth", IMAGES[0]]))
    assert not mark.exists()
    with pytest.raises(UnsupportedError, match="the program's library: it has no function 'run_"):
        Session.open(path, "sim", native_host=True)
    assert mark.exists()


def test_the_native_host_is_a_board_s(bundle: Path, wanted: dict[str, list[np.ndarray]], model: Path) -> None:
    with pytest.raises(UsageError, match=r"native_host must go with a board's bundle on device 'sim', not with 'cpu'"):
        Session.open(model.parent / "cpu.edgemtl", native_host=True)


def _changed(step: HostStep, fields: dict[str, Any]) -> HostStep:
    return replace(step, sizes=replace(step.sizes, **fields))


def changed_step(bundle: Path, path: Path, **fields: Any) -> Path:
    """The bundle with other sizes in the first step of its tasks."""
    with open_bundle(bundle) as opened:
        program = opened.manifest.program
    assert isinstance(program, FpgaProgram)
    tasks = {
        name: replace(task, host=(_changed(task.host[0], fields), *task.host[1:]))
        for name, task in program.tasks.items()
    }
    return rewritten(bundle, path, {}, tasks=tasks)


def test_steps_that_do_not_fit(bundle: Path, tmp_path: Path) -> None:
    """Sizes that agree with nothing are refused when the bundle is opened."""
    with pytest.raises(ConfigError, match=r"semseg.host\[0\]: y must be int8\[\d+, 147\], not int8"):
        Session.open(changed_step(bundle, tmp_path / "a", patch=7), "sim")
    with pytest.raises(ConfigError, match=r"semseg.host\[0\].sizes must be those of a QuantiseImage, not .* zero"):
        Session.open(changed_step(bundle, tmp_path / "b", patch=0), "sim")


def test_the_same_model_gives_the_same_bundle(model: Path, bundle: Path, tmp_path: Path) -> None:
    compile_to(model, tmp_path / "again", "zcu104")
    assert (tmp_path / "again").read_bytes() == bundle.read_bytes()


def test_devices_that_cannot_run_it(bundle: Path, wanted: dict[str, list[np.ndarray]], model: Path) -> None:
    held = "device cpu: this bundle holds no program for it, only one for the FPGA of zcu104; open it with device='sim'"
    with pytest.raises(UnsupportedError, match=held):
        Session.open(bundle)
    for device in ("zcu104", "rtl"):
        with pytest.raises(UnsupportedError, match=f"device {device}: there is no driver for it yet; open it with"):
            Session.open(bundle, device)
    with pytest.raises(UnsupportedError, match="device sim: this bundle holds no program for it, only one for cpu"):
        Session.open(model.parent / "cpu.edgemtl", "sim")
    with (
        Session.open(model.parent / "cpu.edgemtl") as session,
        pytest.raises(UnsupportedError, match="device cpu: its program has no instruction streams to simulate"),
    ):
        session.simulate("depth", IMAGES[0])


def test_the_native_runner_refuses_it(bundle: Path, tmp_path: Path) -> None:
    with open_bundle(bundle) as opened, pytest.raises(UnsupportedError, match="the native runner drives CPUs only"):
        extract_program(opened, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def rewritten(bundle: Path, path: Path, change: dict[str, bytes], **fields: Any) -> Path:
    """The bundle with other members and other fields of its program, signed as it should be."""
    with open_bundle(bundle) as opened:
        manifest: Manifest = opened.manifest
        held = {section.name: bytes(opened.section(section.name)) for section in manifest.sections}
    assert isinstance(manifest.program, FpgaProgram)
    described = replace(manifest, program=replace(manifest.program, **fields), sections=())
    write_bundle(path, described, held | change)
    return path


def test_a_stream_for_another_board(bundle: Path, tmp_path: Path) -> None:
    other = read_spec("ultra96v2")
    path = rewritten(bundle, tmp_path / "a", {}, board=other, engine=f"{engine_digest(other.engine):016x}")
    with pytest.raises(UsageError, match=r"the stream must be for this engine, .*; compile it for this board"):
        Session.open(path, "sim")


def test_streams_that_are_not_whole(bundle: Path, tmp_path: Path) -> None:
    name = "streams/depth/0.stream"
    with open_bundle(bundle) as opened:
        stream = bytes(opened.section(name))
    flipped = bytearray(stream)
    flipped[70] ^= 1
    with pytest.raises(IntegrityError, match="byte 0: crc of the stream must be"):
        Session.open(rewritten(bundle, tmp_path / "a", {name: bytes(flipped)}), "sim")
    with pytest.raises(IntegrityError, match="byte 0: a stream must begin with HEAD, not "):
        Session.open(rewritten(bundle, tmp_path / "b", {name: stream[32:64] + stream[32:]}), "sim")


def test_streams_of_different_rings(bundle: Path, tmp_path: Path) -> None:
    """The next stream's weights come in before the last one's have left: they share one ring."""
    name = "streams/depth/0.stream"
    with open_bundle(bundle) as opened:
        stream = decode_stream(bytes(opened.section(name)), SPEC.engine)
    other = encode_stream(stream.instructions, SPEC.engine, stream.ring_lines - 1)
    with pytest.raises(IntegrityError, match="must have weight rings of one size, not of 16384, 16383 lines"):
        Session.open(rewritten(bundle, tmp_path / "a", {name: other}), "sim")
