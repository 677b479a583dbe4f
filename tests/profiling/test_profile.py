"""Profiles of real bundles: the figures against the simulators and the model, the files against their promises."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgemtl.bundle import FpgaProgram, open_bundle
from edgemtl.cli.app import main
from edgemtl.driver import check_model, compile_model
from edgemtl.errors import InputError, UnsupportedError, UsageError
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.sim.cycle import Frame, rate
from edgemtl.options import CheckOptions, CompileOptions
from edgemtl.profiling import ProfileOptions, profile_bundle
from edgemtl.report.profile import Profile, profile_to_json
from edgemtl.report.profile.html import render_profile
from edgemtl.runtime import Session
from examples.smooth_images import smooth_images
from tests.report.browser import open_page
from tests.support.boards import CONFIG, LENIENT, compile_to, export, needs_linker

IMAGES = smooth_images((1, 3, *CONFIG.image), 3, seed=11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("profile")
    (made / "inputs").mkdir()
    for index, image in enumerate(IMAGES):
        np.save(made / "inputs" / f"{index}.npy", image)
    return made


@pytest.fixture(scope="module")
def board(folder: Path) -> Path:
    compile_to(export(folder), folder / "board.edgemtl", "zcu104")
    return folder / "board.edgemtl"


@pytest.fixture(scope="module")
def simulated(board: Path, folder: Path) -> Profile:
    return profile_bundle(board, ProfileOptions("sim", (folder / "inputs",)))


@needs_linker
def test_cycles_are_the_simulators(simulated: Profile, board: Path) -> None:
    with Session.open(board, "sim") as session:
        for made in simulated.tasks:
            (run,) = session.simulate(made.task, IMAGES[0])
            assert simulated.board is not None
            stream = decode_stream(run.stream, simulated.board.engine)
            steady = rate(stream, run.routes, simulated.board, run.early)
            assert made.latency.steady_cycles == steady.cycles
            assert made.latency.steady_ms == pytest.approx(steady.cycles / 300e3)
            assert sum(made.traffic.values()) == sum(steady.traffic.values())
            assert len(made.spans) == len(stream.instructions)
            assert Frame(stream, run.routes, run.early).early == run.early


@needs_linker
def test_macs_are_the_models(simulated: Profile) -> None:
    """Counted here from the configuration, not from the stream."""
    tokens, dim = (CONFIG.image[0] // CONFIG.patch) * (CONFIG.image[1] // CONFIG.patch), CONFIG.dim
    tokens += CONFIG.class_token
    for made in simulated.tasks:
        found = {layer.name: 0 for layer in made.layers}
        for layer in made.layers:
            found[layer.name] += layer.macs
        attention = tokens * dim * 4 * dim + 2 * tokens * tokens * dim
        assert found["attention"] == CONFIG.depth * attention
        experts = tokens * (dim * CONFIG.experts + CONFIG.top_k * 2 * dim * CONFIG.expert_hidden)
        assert found["experts"] == len(CONFIG.moe_blocks) * experts


@needs_linker
def test_expert_loads_are_of_all_images(simulated: Profile) -> None:
    tokens = (CONFIG.image[0] // CONFIG.patch) * (CONFIG.image[1] // CONFIG.patch) + CONFIG.class_token
    for made in simulated.tasks:
        assert [sum(load.tokens) for load in made.experts] == [len(IMAGES) * tokens * CONFIG.top_k] * len(made.experts)


@needs_linker
def test_changing_tasks_costs_nothing(simulated: Profile) -> None:
    assert simulated.switches is not None
    assert len(simulated.switches.order) == 2 * len(simulated.tasks)
    # Weights of the next task are fetched under the end of the one before, as those of the same task are.
    steady = max(simulated.switches.steady.values())
    assert max(simulated.switches.extra) <= 0.002 * steady


@needs_linker
def test_latency_falls_with_what_memory_sustains(simulated: Profile) -> None:
    """At the board's own share it is the task's latency; never more than all its bytes take longer."""
    assert simulated.board is not None
    memory = simulated.board.board.memory
    own = round(100 * memory.sustained_bytes_per_s / memory.peak_bytes_per_s)
    for task in simulated.tasks:
        cycles = {at.percent: at.steady_cycles for at in task.dram if at.percent is not None}
        (by_banks,) = (at.steady_cycles for at in task.dram if at.percent is None)
        assert by_banks <= cycles[75]
        assert list(cycles) == [60, 65, 70, 75, 80, 85, 90]
        assert cycles[own] == pytest.approx(task.latency.steady_cycles, rel=1e-3)
        assert all(a >= b for a, b in pairwise(cycles.values()))
        ports = simulated.board.engine.dma_ports * simulated.board.board.ports.data_bits / 8
        slow = min(ports, 0.6 * memory.peak_bytes_per_s / (simulated.board.engine.clock_mhz * 1e6))
        assert cycles[60] >= 0.99 * sum(task.traffic.values()) / slow
        assert cycles[60] <= cycles[90] * 1.5


@needs_linker
def test_files_of_the_verb(board: Path, folder: Path, simulated: Profile) -> None:
    output = folder / "report"
    arguments = ["-q", "profile", str(board), "--input", str(folder / "inputs"), "-o", str(output)]
    assert main(arguments) == 0
    assert sorted(path.name for path in output.iterdir()) == ["layers.csv", "report.html", "report.json", "trace.json"]
    assert json.loads((output / "report.json").read_text()) == json.loads(json.dumps(profile_to_json(simulated)))
    with (output / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(made.layers) for made in simulated.tasks)
    assert (output / "report.html").stat().st_size < 8_000_000
    seen = open_page((output / "report.html").read_text(), folder)
    assert seen.console == ()
    assert all(chart["marks"] for chart in seen.found["charts"])
    assert not [text for text in seen.found["texts"] if text["clipped"]]


@needs_linker
def test_check_and_report_agree_on_the_accelerators_share(simulated: Profile, folder: Path) -> None:
    """All products run there; with a convolution kept in float32, all but those that its shape has."""
    assert [made.frame.accelerator_share for made in simulated.tasks] == [1.0] * len(simulated.tasks)
    path = export(folder / "kept")
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    shapes = {of.name: [d.dim_value for d in of.type.tensor_type.shape.dim] for of in model.graph.value_info}
    weights = {of.name: list(of.dims) for of in model.graph.initializer}
    conv = next(node for node in model.graph.node if node.op_type == "Conv" and "semseg" in node.name)
    macs = math.prod(weights[conv.input[1]]) * math.prod(shapes[conv.output[0]][2:])
    how = {"target": "zcu104", "precision": "int8", "calibration": path.parent / "images", "tasks": ("semseg",)}
    checked = check_model(path, CheckOptions(keep_float=(conv.name,), **how))
    macs_by_place = {share.where: share.macs for share in checked.shares}
    assert macs_by_place["cpu"] == macs
    options = CompileOptions(quantise=replace(LENIENT, keep_float=(conv.name,)), **how)
    compile_model(path, options, folder / "kept.edgemtl")
    profile = profile_bundle(folder / "kept.edgemtl", ProfileOptions("sim", (folder / "inputs" / "0.npy",)))
    (made,) = profile.tasks
    assert sum(step.macs for step in made.frame.steps if step.where == "host CPU") == macs
    share = macs_by_place["accelerator"] / sum(macs_by_place.values())
    assert made.frame.accelerator_share == pytest.approx(share)
    assert 0 < share < 1
    # A convolution in float32 has no time model: the page names it, and gives no figure of the whole frame.
    assert made.frame.unknown
    assert made.frame.latency_ms is None
    page = render_profile(profile)
    assert f"no time model of {', '.join(dict.fromkeys(made.frame.unknown))}" in page


def test_a_cpu_is_measured(folder: Path) -> None:
    model = folder / "model.onnx"
    if not model.exists():
        model = export(folder)
    compile_to(model, folder / "cpu.edgemtl", "cpu")
    made = profile_bundle(folder / "cpu.edgemtl", ProfileOptions("cpu", (folder / "inputs",), runs=3, threads=1))
    with open_bundle(folder / "cpu.edgemtl") as opened:
        program = opened.manifest.program
    assert not isinstance(program, FpgaProgram)
    assert (made.figures, made.board, made.tasks) == ("measured", None, ())
    for task in made.cpu_tasks:
        assert [kernel.macs for kernel in task.kernels] == [layer.macs for layer in program.tasks[task.task].layers]
        assert all(0 < kernel.least_ms <= kernel.median_ms <= kernel.most_ms for kernel in task.kernels)


@needs_linker
def test_refusals(board: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"--device must be sim or cpu, not 'rtl'"):
        ProfileOptions("rtl", (folder,))
    with pytest.raises(UsageError, match=r"at least one --input"):
        ProfileOptions("sim", ())
    with pytest.raises(UnsupportedError, match=r"device cpu"):
        profile_bundle(board, ProfileOptions("cpu", (folder / "inputs",)))
    (folder / "none").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=r"must hold PNG, JPEG, .npy or .npz files"):
        profile_bundle(board, ProfileOptions("sim", (folder / "none",)))
    with pytest.raises(UsageError, match=r"task must be one of"):
        profile_bundle(board, ProfileOptions("sim", (folder / "inputs",), ("windows",)))
