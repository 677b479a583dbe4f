"""Layers in float32 because that is faster on the target: the cheapest choice, and the same for check and compile."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from edgemtl import partition
from edgemtl.driver import check_model, compile_model
from edgemtl.errors import UsageError
from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.options import CheckOptions, CompileOptions, QuantiseOptions
from edgemtl.processor import resolve
from edgemtl.quantize.min_cut import sink_side
from edgemtl.quantize.quality import signal_to_noise
from edgemtl.quantize.quantised_model import Quantised, quantise
from examples.smooth_images import smooth_images
from tests.codegen.test_plain_nets import exported
from tests.codegen.vision_nets import VISION_NETS
from tests.support.frames import smooth_frames

REASON = "it is faster in float32 on cpu-avx2"


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_is_the_cheapest_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = ["s", *range(6), "t"]
    edges = [(a, b, int(random.integers(0, 9))) for a, b in product(names, names) if a != b and random.random() < 0.5]

    def cost(behind: frozenset[object]) -> int:
        return sum(capacity for a, b, capacity in edges if a not in behind and b in behind)

    sides = [
        frozenset({"t", *(name for name, taken in zip(range(6), bits, strict=True) if taken)})
        for bits in product((False, True), repeat=6)
    ]
    least = min(map(cost, sides))
    cheapest = [side for side in sides if cost(side) == least]
    assert sink_side(edges, "s", "t") == frozenset.intersection(*cheapest)


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of MobileNet blocks, and images beside it."""
    folder = tmp_path_factory.mktemp("mobile")
    torch.manual_seed(0)
    exported(VISION_NETS["mobile"](), folder / "net.onnx")
    (folder / "images").mkdir()
    for index, image in enumerate(smooth_images(read_model(folder / "net.onnx").inputs[0].shape, 10)):
        np.save(folder / "images" / f"{index}.npy", image)
    return folder


def integers_of(path: Path, target: str) -> tuple[Quantised, Quantised]:
    """Bit exact ones, and those that are the fastest on a target."""
    model = read_model(path)
    tasks = partition.partition(model, [task.name for task in model.tasks], "exact", None)
    images = {str(index): image for index, image in enumerate(smooth_frames(model.inputs[0], 16))}
    exact = quantise(model, tasks, resolve(target), images, QuantiseOptions(least_sqnr_db=0))
    return exact, exact.faster_on(resolve(target))


def test_the_target_decides_what_stays_in_float(mobile: Path) -> None:
    exact, fast = integers_of(mobile / "net.onnx", "cpu-avx2")
    (integer,), (mixed,) = exact.integers.values(), fast.integers.values()
    assert integer.all_integer
    assert not integer.islands
    assert {island.reason for island in mixed.islands} == {REASON}
    assert any("run in float32 because that is faster" in note and "--bit-exact" in note for note in fast.notes)
    frames = smooth_frames(read_model(mobile / "net.onnx").inputs[0], 4, seed=7)
    outputs = [[run_steps(task.steps, frame) for frame in frames] for task in (mixed, integer)]
    floats = [run_steps(exact.floats[integer.task], frame) for frame in frames]
    ratios = [signal_to_noise(floats, rounded) for rounded in outputs]
    assert min(ratios) > 35
    for target in ("cpu-avx512", "cpu-a53"):
        assert fast.only([integer.task]).integers != exact.faster_on(resolve(target)).integers
        assert exact.faster_on(resolve(target)).integers == exact.integers


def test_check_and_compile_agree_and_bit_exact_is_all_integer(mobile: Path) -> None:
    options = {"target": "cpu-avx2", "precision": "int8", "calibration": mobile / "images"}
    for bit_exact in (False, True):
        checked = check_model(mobile / "net.onnx", CheckOptions(**options, bit_exact=bit_exact)).nodes
        how = CompileOptions(**options, bit_exact=bit_exact, selftest=False)
        notes = compile_model(mobile / "net.onnx", how, mobile / "net.edgemtl").notes
        layers = {note.split(": ")[1].removesuffix(" runs in float32") for note in notes if note.endswith(REASON)}
        assert bool(layers) is not bit_exact
        in_float = {node.node for node in checked if node.where == "float32"}
        assert layers <= in_float
        assert in_float == {node.node for node in checked if node.reason == REASON}
    assert not any(node.where == "float32" for node in checked)


def test_a_refusal_of_float_layers_implies_bit_exact(mobile: Path) -> None:
    options = CheckOptions(target="cpu-avx2", precision="int8", require_int8=True)
    assert not any(node.where == "float32" for node in check_model(mobile / "net.onnx", options).nodes)
    with pytest.raises(UsageError, match="--bit-exact and --weights must come with a board or --precision int8"):
        CheckOptions(bit_exact=True)
    with pytest.raises(UsageError, match="--sqnr-target and --weights must come with --precision int8"):
        CompileOptions(bit_exact=True)
