"""Mixtures of experts as people write them, exported by torch and compiled: torch's results, and how each was taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgemtl import partition
from edgemtl.codegen.cpu import compile_cpu
from edgemtl.frontend import MultiTaskModel, read_model
from edgemtl.options import QuantiseOptions
from edgemtl.processor import resolve
from edgemtl.quantize.quality import signal_to_noise
from edgemtl.quantize.quantised_model import quantise
from examples.smooth_images import smooth_images
from tests.codegen.harness import Machine
from tests.support.mixtures import LAYERS, SIDE, Network, export

SHAPE = (1, 3, 4 * SIDE, 4 * SIDE)
OWN = "weighed by the model's own operators"
GROUPS = f"6 experts, top 2, gated by silu, sigmoid scores, 3 choices in turn, {OWN}"
SPARSE = {
    "deepseek": GROUPS,
    "deepseek_loop": GROUPS,
    "lora": "6 experts, top 2, identity, normalised",
    "mixtral_loop": "6 experts, top 2, gated by silu, normalised",
    "mod_squad": "6 experts, top 2, gelu",
    "nested": f"6 experts, top 2, gelu, softmax scores, 2 choices in turn, {OWN}",
    "swiglu_stacked": "6 experts, top 2, gated by silu, normalised",
    "switch_capacity": f"6 experts, top 1, gelu, softmax scores, limited capacity, {OWN}",
}
"""What each is taken as; of the others every expert, or every buffer of an expert, is computed."""
NO_SCRIPT = {"expert_choice": "torch's older exporter refuses index_add with equal indices"}
TARGETS = {"vmoe_dispatch": 24.0}
"""``sqnr_target`` where int8 alone stays below 20 dB: one token chosen otherwise moves who overflows a buffer."""
CHAINS = (tuple(SPARSE), tuple(name for name in LAYERS if name not in SPARSE.keys() | NO_SCRIPT.keys()))


def descriptions(model: MultiTaskModel) -> list[str]:
    taken = [note.partition("taken as a mixture of ")[2] for note in model.notes if "taken as a mixture" in note]
    assert all("; runs sparse; " in note for note in taken)
    return sorted(note.partition(";")[0] for note in taken)


def compare(network: Network, machine: Machine, images: list[np.ndarray], least_db: float) -> None:
    with torch.no_grad():
        outputs = [network(torch.from_numpy(image)) for image in images]
    for index, task in enumerate(("semseg", "depth")):
        expected = [output[index].numpy() for output in outputs]
        actual = [machine.run(task, image) for image in images]
        assert signal_to_noise(expected, actual) >= least_db


@pytest.mark.parametrize("names", CHAINS, ids=["sparse", "dense"])
def test_all_in_one_network(names: tuple[str, ...], tmp_path: Path) -> None:
    network = export(names, tmp_path / "net.onnx", dynamo=False)
    model = read_model(tmp_path / "net.onnx")
    assert descriptions(model) == sorted([SPARSE[name] for name in names if name in SPARSE] * 2)
    tasks = partition.partition(model, ["semseg", "depth"], "exact")
    machine = Machine(compile_cpu(tasks, resolve("cpu"), memory_budget=None))
    compare(network, machine, smooth_images(SHAPE, 2), 80)


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("name", LAYERS)
def test_each_in_float32_and_int8(name: str, dynamo: bool, tmp_path: Path) -> None:
    if not dynamo and name in NO_SCRIPT:
        pytest.skip(NO_SCRIPT[name])
    network = export((name,), tmp_path / "net.onnx", dynamo)
    model = read_model(tmp_path / "net.onnx")
    assert descriptions(model) == ([SPARSE[name]] * 2 if name in SPARSE else [])
    tasks = partition.partition(model, ["semseg", "depth"], "exact")
    images = list(smooth_images(SHAPE, 24))
    compare(network, Machine(compile_cpu(tasks, resolve("cpu"), memory_budget=None)), images[:4], 80)
    known = {str(index): {"image": image} for index, image in enumerate(images[:16])}
    quantised = quantise(model, tasks, resolve("cpu"), known, QuantiseOptions(sqnr_target=TARGETS.get(name)))
    integers = compile_cpu(tasks, resolve("cpu"), memory_budget=None, integers=quantised.integers)
    compare(network, Machine(integers), images[16:], 20)
