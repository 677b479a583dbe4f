"""Outputs of any rank: the frames of a batch are the first axis, whatever the shape of one frame's output."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tvm.script import tirx as T

from edgemtl.bundle import Layer, Output, TaskEntry, TaskProgram, pack_golden, write_bundle
from edgemtl.errors import InputError
from edgemtl.evaluate.folder import evaluate_folder
from edgemtl.evaluate.predict import predict_files
from edgemtl.processor import resolve
from edgemtl.runtime import Session
from edgemtl.tvm_bridge.build import Argument, EntryFunction, KernelCall, build_library
from edgemtl.tvm_bridge.kernel import Kernel
from tests.runtime import native, programs
from tests.runtime.programs import FLOATS, picture

SHAPES: dict[str, tuple[int, ...]] = {
    "scalar": (),
    "one": (1,),
    "vector": (7,),
    "matrix": (5, 3),
    "grown": (2, 1, 2, 1, 1, 1, 1, 3),
    "map": (1, 2, 3, 4),
    "unknown": (1, 2, 3, 4),
    "classes": (1, 7),
    "pooled": (1, 8, 1, 1),
}
KINDS = {"map": "segmentation", "classes": "classification", "pooled": "classification"}
NAMES = {"classes": tuple("abcdefg")}


def _double(count: int) -> Kernel:
    """A kernel that doubles the first ``count`` values."""

    @T.prim_func(private=True)
    def double(a: T.handle("float32"), c: T.handle("float32")) -> T.int32:
        T.func_attr({"calling_conv": -1, "tirx.noalias": True})
        A = T.decl_buffer((count,), data=a)
        C = T.decl_buffer((count,), data=c)
        for i in T.serial(count):
            C[i] = A[i] + A[i]
        return T.int32(0)

    return Kernel(f"double_{count}", (), double)


def expected(task: str, image: np.ndarray) -> np.ndarray:
    """Twice the first values of the first frame of ``image``."""
    shape = SHAPES[task]
    return 2 * image[0].reshape(-1)[: int(np.prod(shape))].reshape(shape)


@cache
def _library() -> bytes:
    entries = []
    for task, shape in SHAPES.items():
        count = int(np.prod(shape))
        call = KernelCall(_double(count), (Argument("inputs", 0), Argument("output", 0)))
        entries.append(EntryFunction(f"run_{task}", (call,), {"inputs": 4 * FLOATS, "output": 4 * count}))
    return build_library(entries, resolve("cpu"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, good = tmp_path_factory.mktemp("ranks") / "ranks.edgemtl", programs.manifest(resolve("cpu"))
    layers = (Layer(0, "double", ("node0",), 0, 0),)
    tasks = {t: TaskProgram(f"run_{t}", None, 1, Output(s, "float32"), layers) for t, s in SHAPES.items()}
    program = replace(
        good.program, arena_bytes=0, prepared_bytes=0, weights_bytes=0, common_prefix_steps=0, tasks=tasks
    )
    pairs = [pack_golden(t, programs.stored(0), expected(t, picture(0)), 0.0) for t in SHAPES]
    entries = tuple(
        TaskEntry(t, KINDS.get(t, "other"), s[1] if len(s) > 1 else 1, "exact", ("image",), (), (), NAMES.get(t, ()))
        for t, s in SHAPES.items()
    )
    manifest = replace(good, tasks=entries, program=program, weights=(), golden=tuple(entry for entry, _ in pairs))
    sections = {"weights.bin": b"", "program/cpu.so": _library()}
    write_bundle(path, manifest, {name: data for _, files in pairs for name, data in files.items()} | sections)
    return path


@pytest.mark.parametrize("task", SHAPES)
@pytest.mark.parametrize("frames", [1, 3])
def test_one_task(bundle: Path, task: str, frames: int) -> None:
    images = picture(2, frames=frames)
    wanted = np.stack([expected(task, images[i : i + 1]) for i in range(frames)])
    wanted = wanted[:, 0] if SHAPES[task][:1] == (1,) else wanted
    with Session.open(bundle, check_arena=True) as session:
        assert session.task_info(task).output_shape == SHAPES[task]
        found = session.run(task, images)
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == np.float32
        out = np.zeros_like(wanted)
        assert session.run(task, images, out=out) is out
        np.testing.assert_array_equal(out, wanted)


def test_all_tasks_and_their_selftest(bundle: Path) -> None:
    with Session.open(bundle) as session:
        found = session.run(list(SHAPES), picture(1))
        assert {task: array.shape for task, array in found.items()} == {
            "scalar": (1,),
            "one": (1,),
            "vector": (1, 7),
            "matrix": (1, 5, 3),
            "grown": (1, 2, 1, 2, 1, 1, 1, 1, 3),
            "map": (1, 2, 3, 4),
            "unknown": (1, 2, 3, 4),
            "classes": (1, 7),
            "pooled": (1, 8, 1, 1),
        }
        for task, array in found.items():
            np.testing.assert_array_equal(array.reshape(-1), expected(task, picture(1)).reshape(-1))
        assert all(result.passed for result in session.selftest())


def test_out_of_another_rank_is_refused(bundle: Path) -> None:
    with Session.open(bundle) as session:
        message = r"out of matrix must be a float32 array of shape \[2, 5, 3\], not float32 \[10, 3\]"
        with pytest.raises(InputError, match=message):
            session.run("matrix", picture(0, frames=2), out=np.zeros((10, 3), np.float32))


def test_native_runner(bundle: Path, tmp_path: Path) -> None:
    runner = [str(native.build(tmp_path / "edgemtl_run"))]
    found = native.run(runner, native.extract(bundle, tmp_path / "program"), picture(4), tmp_path, list(SHAPES))
    for task, shape in SHAPES.items():
        assert found[task].shape == shape
        np.testing.assert_array_equal(found[task], expected(task, picture(4)))


def test_only_maps_become_pictures(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "photo.npy", picture(5))
    with Session.open(bundle) as session:
        written = list(predict_files(session, list(SHAPES), [tmp_path / "photo.npy"], tmp_path / "out"))
    assert {item.task for item in written if item.picture is not None} == {"map"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *(f"photo_{task}.npy" for task in SHAPES),
        *("photo_map.png", "photo_classes.json", "photo_pooled.json"),
    }
    for item in written:
        np.testing.assert_array_equal(np.load(item.array).reshape(-1), expected(item.task, picture(5)).reshape(-1))


@pytest.mark.parametrize("task", ["classes", "pooled"])
def test_classifications_write_their_best_classes(bundle: Path, tmp_path: Path, task: str) -> None:
    np.save(tmp_path / "photo.npy", picture(5))
    with Session.open(bundle) as session:
        (written,) = predict_files(session, [task], [tmp_path / "photo.npy"], tmp_path / "out")
    assert written.classes is not None
    document = json.loads(Path(written.classes).read_text())
    scores = expected(task, picture(5)).reshape(-1)
    best = sorted(range(scores.size), key=lambda index: -scores[index])[:5]
    assert [item["class"] for item in document["top"]] == best
    assert [item["score"] for item in document["top"]] == pytest.approx([float(scores[index]) for index in best])
    names = [item["name"] for item in document["top"]] if task in NAMES else None
    assert names == ([NAMES[task][index] for index in best] if task in NAMES else None)
    assert (document["schema_version"], document["task"]) == (1, task)


def test_only_what_has_metrics_is_evaluated(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images" / "a.npy", picture(0))
    message = r"task vector must be of a kind with metrics \(segmentation, .*\), not other; compile with --kind vector="
    with Session.open(bundle) as session, pytest.raises(InputError, match=message):
        evaluate_folder(session, ["vector"], tmp_path)
