"""A session gives what the program says, refuses what it cannot take, and tells what it holds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgemtl.bundle import Output, pack_golden, write_bundle
from edgemtl.errors import (
    BudgetError,
    ConfigError,
    EdgemtlError,
    InputError,
    IntegrityError,
    UnsupportedError,
    UsageError,
)
from edgemtl.processor import resolve
from edgemtl.runtime import Session, TaskInfo, available
from edgemtl.runtime.devices.sizes import check_sizes
from tests.runtime import programs
from tests.runtime.programs import SHAPE, WEIGHTS, expected, picture

TASKS = tuple(WEIGHTS)


def test_what_a_session_says(session: Session) -> None:
    assert session.tasks == TASKS
    assert session.task_info("depth") == TaskInfo("depth", "depth", 3, SHAPE, "float32", ("image",), "exact", 4)
    assert session.input.shape == SHAPE
    assert session.input.mean == (0.5, 0.5, 0.5)
    memory = session.memory
    assert (memory.arena_bytes, memory.prepared_bytes, memory.weights_bytes) == (programs.ARENA, 192, 256)
    assert memory.staging_bytes == 4 * 4 * programs.FLOATS
    assert memory.peak_resident_bytes > 1 << 20


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_task(bundle: Path, threads: int) -> None:
    with Session.open(bundle, threads=threads) as session:
        for seed, task in enumerate(TASKS):
            np.testing.assert_array_equal(session.run(task, picture(seed)), expected(task, picture(seed)))


@pytest.mark.parametrize("order", [TASKS, TASKS[::-1], ("depth",), ["normals", "semseg"]])
def test_several_tasks(session: Session, order: tuple[str, ...]) -> None:
    found = session.run(order, picture(5))
    assert tuple(found) == tuple(order)
    for task in order:
        np.testing.assert_array_equal(found[task], expected(task, picture(5)))


def test_common_beginning_runs_once(session: Session) -> None:
    """Steps [0, 4) for the first task, [2, 4) for the others."""
    calls = []
    run = session._device.run
    session._device.run = lambda *call: (calls.append(call), run(*call))[1]
    session.run(["depth", "semseg", "normals"], picture(0))
    assert calls == [("depth", 0, 4), ("semseg", 2, 4), ("normals", 2, 4)]


def test_batches(session: Session) -> None:
    images = picture(1, frames=5)
    np.testing.assert_array_equal(session.run("depth", images), expected("depth", images))
    found = session.run(["depth", "normals"], images)
    np.testing.assert_array_equal(found["normals"], expected("normals", images))


def test_out(session: Session) -> None:
    images = picture(2, frames=2)
    out = np.zeros((2, *SHAPE[1:]), np.float32)
    assert session.run("semseg", images, out=out) is out
    np.testing.assert_array_equal(out, expected("semseg", images))
    outs = {task: np.zeros((2, *SHAPE[1:]), np.float32)[:, ::-1, :, ::-1] for task in ("depth", "normals")}
    found = session.run(["depth", "normals"], images, out=outs)
    for task, array in outs.items():
        assert found[task] is array
        np.testing.assert_array_equal(array, expected(task, images))


def test_out_may_be_the_image(session: Session) -> None:
    image = picture(3)
    wanted = expected("depth", image)
    np.testing.assert_array_equal(session.run("depth", image, out=image), wanted)


def test_nothing_but_the_output_is_returned(session: Session) -> None:
    """What a caller holds does not change with the next run."""
    first = session.run("depth", picture(1))
    kept = first.copy()
    session.run("depth", picture(2))
    np.testing.assert_array_equal(first, kept)


def test_switch(session: Session) -> None:
    session.switch("depth")
    np.testing.assert_array_equal(session.run("semseg", picture(1)), expected("semseg", picture(1)))


def test_profile(session: Session) -> None:
    times = session.profile("semseg", picture(1))
    assert [t.step for t in times] == [0, 1, 2, 3]
    assert [t.kernel for t in times] == ["scale", "add", "scale", "add"]
    assert times[1].origin == ("node1",)
    assert all(t.seconds > 0 for t in times)
    np.testing.assert_array_equal(session._device.outputs["semseg"], expected("semseg", picture(1)))


def test_selftest(session: Session) -> None:
    results = session.selftest()
    assert [(r.task, r.passed, r.max_abs_error, r.elements) for r in results] == [
        (task, True, 0.0, programs.FLOATS) for task in TASKS
    ]


def test_selftest_sees_a_wrong_output(session: Session) -> None:
    weights = session._bundle.weights().view(np.float32)
    weights[0] += 1
    failed = session.selftest()[1]
    image = picture(0)
    error = np.abs(image * np.float32(1.3) * np.float32(1.3) ** 2).max()
    assert not failed.passed
    assert failed.max_abs_error == pytest.approx(float(error), rel=1)
    weights[0] = np.nan
    assert not any(result.passed for result in session.selftest())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([1.0], "image must be a numpy array, not list; convert it with numpy.asarray"),
        (np.zeros(SHAPE), "image must be float32, not float64; convert it"),
        (np.zeros(SHAPE, np.uint8), "image must be float32, not uint8"),
        (
            np.zeros(SHAPE[1:], np.float32),
            r"image must have the shape \[B, 3, 16, 32\], not \[3, 16, 32\]; resize it",
        ),
        (np.zeros((1, 3, 32, 16), np.float32), r"must have the shape \[B, 3, 16, 32\], not \[1, 3, 32, 16\]"),
        (np.zeros((0, 3, 16, 32), np.float32), r"must have the shape \[B, 3, 16, 32\], not \[0, 3, 16, 32\]"),
    ],
)
def test_images_refused(session: Session, image: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        session.run("depth", image)
    with pytest.raises(InputError, match=message):
        session.profile("depth", image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_refused(session: Session, value: float) -> None:
    image = picture(0, frames=2)
    image[1, 2, 3, 4] = image[1, 2, 3, 6] = value
    message = rf"image must hold finite numbers, not {value} at \[0, 2, 3, 4\] \(2 such values\); check how"
    with pytest.raises(InputError, match=message):
        session.run("depth", image)
    np.testing.assert_array_equal(session.run("depth", picture(1)), expected("depth", picture(1)))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("edges", "task must be one of semseg, depth, normals, not 'edges'"),
        (["depth", "edges"], "task must be one of semseg, depth, normals, not 'edges'"),
        ([], r"tasks must be one or more of semseg, depth, normals, each once, not \[\]"),
        (["depth", "depth"], "tasks must be one or more of semseg, depth, normals, each once"),
        (None, "tasks must be a name or a list of names, not None"),
        (["depth", ["semseg"]], r"tasks must be a name or a list of names, not \['depth', \['semseg'\]\]"),
        ({"depth"}, r"tasks must be a name or a list of names, not \{'depth'\}"),
        (3, "tasks must be a name or a list of names, not 3"),
    ],
)
def test_tasks_refused(session: Session, tasks: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        session.run(tasks, picture(0))


def test_tasks_refused_elsewhere(session: Session) -> None:
    for call in (session.switch, session.task_info, lambda task: session.profile(task, picture(0))):
        with pytest.raises(UsageError, match="task must be one of semseg, depth, normals, not 'edges'"):
            call("edges")


def test_out_refused(session: Session) -> None:
    wanted = r"out of depth must be a float32 array of shape \[1, 3, 16, 32\], not "
    for out, found in (
        (np.zeros(SHAPE), r"float64 \[1, 3, 16, 32\]"),
        (np.zeros((2, *SHAPE[1:]), np.float32), r"float32 \[2, 3, 16, 32\]"),
        ([], "list"),
    ):
        with pytest.raises(InputError, match=wanted + found):
            session.run("depth", picture(0), out=out)
    frozen = np.zeros(SHAPE, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(InputError, match="out of depth must be a writable array, not a read-only one"):
        session.run("depth", picture(0), out=frozen)
    with pytest.raises(InputError, match=r"out must be a dict with depth, normals, not depth$"):
        session.run(["depth", "normals"], picture(0), out={"depth": np.zeros(SHAPE, np.float32)})
    with pytest.raises(InputError, match="out must be a dict with depth, not list"):
        session.run(["depth"], picture(0), out=[])


def test_use_after_close(bundle: Path) -> None:
    session = Session.open(bundle)
    session.close()
    session.close()
    for call in (
        lambda: session.run("depth", picture(0)),
        lambda: session.switch("depth"),
        lambda: session.profile("depth", picture(0)),
        session.selftest,
    ):
        with pytest.raises(UsageError, match="must be open"):
            call()


def test_use_in_a_fork(bundle: Path) -> None:
    with Session.open(bundle) as session:
        session.run("depth", picture(0))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                session.run("depth", picture(0))
            except UsageError as error:
                os.write(writer, str(error).encode())
            session.close()
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with open(reader, "rb") as file:
            assert file.read().startswith(b"a Session must be used in the process that opened it, not in a fork")


@pytest.mark.parametrize("threads", [0, -1, 257, 2.5, "2", None, True])
def test_threads_refused(bundle: Path, threads: int) -> None:
    with pytest.raises(UsageError, match=f"threads must be from 1 to 256, not {threads!r}"):
        Session.open(bundle, threads=threads)


@pytest.mark.parametrize("device", ["sim", "rtl", "zcu104"])
def test_devices_without_a_program(bundle: Path, device: str) -> None:
    message = f"device {device}: this bundle holds no program for it, only one for cpu; open it with device='cpu'"
    with pytest.raises(UnsupportedError, match=message):
        Session.open(bundle, device=device)


def test_arguments_of_open(bundle: Path) -> None:
    with pytest.raises(UsageError, match="the bundle must be given as a path, not NoneType; pass a str or a Path"):
        Session.open(None)
    with pytest.raises(UsageError, match="device must be a name, not None"):
        Session.open(bundle, device=None)


def test_a_copy_does_not_feel_what_is_done_to_the_file(tmp_path: Path) -> None:
    path = programs.write(tmp_path / "a.edgemtl")
    with Session.open(path, copy=True) as session:
        os.truncate(path, 100)
        for task in TASKS:
            np.testing.assert_array_equal(session.run(task, picture(0)), expected(task, picture(0)))
        assert all(result.passed for result in session.selftest())


def test_unknown_device(bundle: Path) -> None:
    with pytest.raises(UsageError, match="device must be one of cpu, sim, rtl, zcu104, not 'gpu'"):
        Session.open(bundle, device="gpu")


def test_bundle_of_another_machine(tmp_path: Path) -> None:
    path = programs.write(tmp_path / "a.edgemtl")
    other = replace(programs.manifest(resolve("cpu")).program.target, triple="aarch64-linux-gnu", vector_bits=128)
    program = replace(programs.manifest(resolve("cpu")).program, target=other)
    programs.write(path, program=program)
    with pytest.raises(UnsupportedError, match="its code is for aarch64, this machine is x86_64"):
        Session.open(path)


def test_more_memory_than_is_free(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "available_bytes", lambda root: 10000)
    with pytest.raises(BudgetError, match="the program needs 43200 bytes, the budget is 10000 bytes"):
        Session.open(bundle)


def test_a_program_that_writes_behind_its_arena(tmp_path: Path) -> None:
    path = programs.write(tmp_path / "wild.edgemtl", wild=True)
    with (
        Session.open(path, check_arena=True) as session,
        pytest.raises(IntegrityError, match="inside its arena of 18432 bytes, and wrote behind it"),
    ):
        session.run("depth", picture(0))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"arena_bytes": 64}, r"program.arena_bytes must be of 18432 bytes, as semseg was compiled, not 64;"),
        (
            {"arena_bytes": (4 << 30) - 1},
            r"program.arena_bytes must be of 18432 bytes, as semseg was compiled, not 429",
        ),
        ({"prepared_bytes": 0}, r"program.prepared_bytes must be of 192 bytes, as semseg was compiled, not 0;"),
        ({"prepared_bytes": 193}, r"program.prepared_bytes must be of 192 bytes, as semseg was compiled, not 193;"),
    ],
)
def test_a_program_of_other_sizes(tmp_path: Path, sizes: dict[str, int], message: str) -> None:
    """Refused when it is opened, at no cost in memory, before any step runs."""
    program = replace(programs.manifest(resolve("cpu")).program, **sizes)
    path = programs.write(tmp_path / "a.edgemtl", program=program)
    before = _resident_bytes()
    with pytest.raises(ConfigError, match="manifest." + message + " ?.*compile the bundle again"):
        Session.open(path)
    assert _resident_bytes() - before < 64 << 20


def test_weights_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = np.concatenate([programs.weights(), np.zeros((1, 16), np.float32)])
    monkeypatch.setattr(programs, "weights", lambda: held)
    path = programs.write(tmp_path / "a.edgemtl")
    with pytest.raises(
        ConfigError, match=r"program.weights_bytes must be of 256 bytes, as semseg was compiled, not 320"
    ):
        Session.open(path)


def test_shapes_of_another_size(tmp_path: Path) -> None:
    good = programs.manifest(resolve("cpu"))
    wide = replace(good.inputs[0], shape=(1, 3, 16, 33))
    path = programs.write(tmp_path / "a.edgemtl", inputs=(wide,))
    with pytest.raises(ConfigError, match=r"manifest.inputs must be of 6144 bytes, as semseg was compiled, not"):
        Session.open(path)
    tasks = good.program.tasks | {"depth": replace(good.program.tasks["depth"], output=Output((1, 3, 8, 8), "float32"))}
    entries = [pack_golden(t, programs.stored(0), np.zeros(tasks[t].output.shape, np.float32), 0.0)[0] for t in TASKS]
    members = programs.sections() | pack_golden("depth", programs.stored(0), np.zeros((1, 3, 8, 8), np.float32), 0.0)[1]
    described = replace(good, program=replace(good.program, tasks=tasks), golden=tuple(entries))
    write_bundle(path, described, members)
    message = (
        r"manifest.program.tasks.depth.output.shape must be of 6144 bytes, as depth was compiled, not \[1, 3, 8, 8\]"
    )
    with pytest.raises(ConfigError, match=message):
        Session.open(path)


def test_an_entry_that_fails_without_steps() -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no such luck")

    program = programs.manifest(resolve("cpu")).program
    with pytest.raises(ConfigError, match="depth: its program must run without steps, and failed; no such luck"):
        check_sizes(program, "depth", broken, ())


def test_a_program_that_fails(session: Session) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no such luck")

    session._device._entries["depth"] = broken
    with pytest.raises(EdgemtlError, match="depth: the program must run to its end, and failed; no such luck"):
        session.run("depth", picture(0))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_library_without_the_function(tmp_path: Path) -> None:
    good = programs.manifest(resolve("cpu")).program
    tasks = good.tasks | {"depth": replace(good.tasks["depth"], entry="run_edges")}
    path = programs.write(tmp_path / "a.edgemtl", program=replace(good, tasks=tasks))
    with pytest.raises(UnsupportedError, match="the program's library: it has no function 'run_edges'"):
        Session.open(path)
