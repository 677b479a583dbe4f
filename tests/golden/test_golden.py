"""Golden pairs: which inputs are taken, what passes, and what is left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgemtl import frontend, partition
from edgemtl.bundle import PLAIN, SKEWED, Golden, StoredInput, expand_input
from edgemtl.frontend import InputSpec
from edgemtl.golden import Goldens, make_golden
from edgemtl.golden.inputs import SHAKE, draw_plain, draw_skewed, shake
from edgemtl.golden.pairs import LEAST_SCALE, TOLERANCE, spread, tolerance_of
from edgemtl.runtime.selftest import compare_golden
from tests.support.models import build_and_export, small_config
from tests.support.run import run_onnx

SHAPE = (1, 3, 8, 12)
SPEC = InputSpec("image", SHAPE, None, None)


def make(folder: Path, *nodes: onnx.NodeProto, **constants: object) -> tuple[Path, Goldens]:
    """The goldens of a model of one task y."""
    image, y = (helper.make_tensor_value_info(name, 1, list(SHAPE)) for name in ("image", "y"))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", [image], [y], tensors)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    model = frontend.read_model(path)
    return path, make_golden(path, model, partition.partition(model, ("y",), "exact"), [], 0)


def stored(goldens: Goldens, case: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Input in full, output and tolerance of a case."""
    (entry,) = (entry for entry in goldens.entries if entry.case == case)
    prefix = "" if case == PLAIN else f"{case}_"
    (given,) = entry.inputs
    image, output = (
        np.frombuffer(goldens.sections[f"golden/y/{prefix}{part}.npy"][-4 * size :], np.float32)
        for part, size in (("input_0", np.prod(given.shape)), ("output", entry.output_elements))
    )
    return expand_input(StoredInput(image.reshape(given.shape), given.fill), SHAPE), output, entry.tolerance


def test_each_pair_is_what_onnxruntime_says(tmp_path):
    path, goldens = make(tmp_path, helper.make_node("Sin", ["image"], ["y"]))
    assert [(entry.task, entry.case) for entry in goldens.entries] == [("y", PLAIN), ("y", SKEWED)]
    assert not goldens.notes
    for case in (PLAIN, SKEWED):
        image, output, tolerance = stored(goldens, case)
        expected = run_onnx(path, {"image": image})["y"].reshape(-1)
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-6)
        assert tolerance == pytest.approx(1e-4 * np.abs(output).max(), rel=1e-3)


def test_the_skewed_input_is_one_large_value_but_for_a_corner():
    first = next(iter(draw_skewed([SPEC], 0)))
    (image,), (part,) = first.whole([SPEC]).values(), first.stored.values()
    assert part.part.shape == (1, 3, 2, 3)
    assert (image[:, :, 2:] == part.fill).all()
    assert (image[:, :, :, 3:] == part.fill).all()
    assert len(np.unique(image[:, :, :2, :3])) == 18
    assert np.abs(image).min() < 37 <= np.abs(image).max()
    large = next(iter(draw_skewed([replace(SPEC, shape=(1, 3, 2000, 3000))], 0)))
    assert large.stored["image"].part.size <= 4096


def test_images_are_taken_before_noise():
    images = [{"image": np.full(SHAPE, value, np.float32)} for value in (1, 2)]
    assert [drawn.stored["image"].part[0, 0, 0, 0] for drawn in draw_plain([SPEC], images, 0)] == [1, 2]
    noise = [drawn.stored["image"].part for drawn in draw_plain([SPEC], [], 3)]
    assert np.array_equal(noise[0], next(iter(draw_plain([SPEC], [], 3))).stored["image"].part)
    assert not np.array_equal(noise[0], noise[1])


def test_an_output_that_rounding_decides_has_no_skewed_pair(tmp_path):
    """1e7 times an input of 30 is no argument a sine of float32 can take, and one of 1 barely."""
    nodes = helper.make_node("Mul", ["image", "k"], ["a"]), helper.make_node("Sin", ["a"], ["y"])
    _, goldens = make(tmp_path, *nodes, k=np.float32(1e7))
    assert [entry.case for entry in goldens.entries] == [PLAIN]
    assert "y: no skewed golden input, since rounding decides the output on all that were drawn" in goldens.notes
    assert any("rounding changes the output on the plain golden input by" in note for note in goldens.notes)
    assert goldens.entries[0].tolerance > 1e-4


def test_a_smaller_skewed_input_where_the_largest_overflows(tmp_path):
    _, goldens = make(tmp_path, helper.make_node("Exp", ["image"], ["y"]))
    image, output, _ = stored(goldens, SKEWED)
    assert np.isfinite(output).all()
    assert 3 < np.abs(image).max() < 100


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    _, path = build_and_export(small_config(), 0, tmp_path)
    model = frontend.read_model(path)
    tasks = partition.partition(model, ("semseg", "depth"), "exact")
    first, again, other = (make_golden(path, model, tasks, [], seed).sections for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 8


def test_how_far_outputs_are_apart():
    nan, inf = np.nan, np.inf
    a = np.array([1, nan, inf, -inf], np.float32)
    assert spread([a, a], a) == 0
    assert spread([np.array([1.5, nan, inf, -inf], np.float32)], a) == 0.5
    for other in ([1, 0, inf, -inf], [1, nan, -inf, -inf], [nan, nan, inf, -inf], [1, nan, 3e38, -inf]):
        assert spread([np.array(other, np.float32)], a) == inf


def test_tolerance_is_of_the_largest_finite_value():
    assert tolerance_of(np.array([-2000, 1, np.inf, np.nan], np.float32)) == 2000 * TOLERANCE
    assert tolerance_of(np.zeros(3, np.float32)) == LEAST_SCALE * TOLERANCE
    shaken = shake(np.ones(1000, np.float32), 0)
    assert set(np.abs(shaken.astype(np.float64) - 1)) == {SHAKE}


def test_a_self_test_takes_nan_for_nan():
    output = np.array([1, np.nan, np.inf, -4], np.float32)
    golden = Golden("y", PLAIN, {"image": np.zeros(SHAPE, np.float32)}, output, 1, 0.1)
    result = compare_golden(golden, output.reshape(1, 4))
    assert (result.passed, result.max_abs_error, result.scale, result.case) == (True, 0.0, 4.0, PLAIN)
    wrong = compare_golden(golden, np.array([1, 0, np.inf, -4], np.float32))
    assert (wrong.passed, wrong.max_abs_error) == (False, np.inf)
    near = compare_golden(golden, np.array([1.25, np.nan, np.inf, -4], np.float32))
    assert (near.passed, near.max_abs_error) == (False, 0.25)
