"""Compiling for a board from the command line: what it writes and says, and what it refuses with which numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgemtl.bundle import FpgaProgram, open_bundle
from edgemtl.cli.app import main
from edgemtl.errors import UsageError
from edgemtl.options import CompileOptions, QuantiseOptions
from edgemtl.runtime import Session
from tests.cli.test_errors import assert_fails
from tests.cli.test_verbs import run_json
from tests.support.boards import CONFIG, export, needs_linker, write_board
from tests.support.models import small_config


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("model"))


def options(model: Path) -> tuple[object, ...]:
    images = model.parent / "images"
    return ("--precision", "int8", "--calibration", images, "--min-sqnr", "-200")


@pytest.fixture(scope="module")
def bundle(model: Path) -> Path:
    path = model.parent / "board.edgemtl"
    words = ["-q", "compile", model, "--target", "zcu104", *options(model), "-o", path]
    assert main([str(word) for word in words]) == 0
    return path


@needs_linker
def test_it_runs_in_simulation(capsys: pytest.CaptureFixture[str], bundle: Path, in_folder: Path) -> None:
    results = run_json(capsys, "selftest", bundle)
    assert results == run_json(capsys, "selftest", bundle, "--device", "sim")
    assert results["passed"]
    assert {task["tolerance"] for task in results["tasks"]} == {0}
    assert run_json(capsys, "bundle", "verify", bundle)["verified"]
    np.save("image.npy", np.load(bundle.parent / "images" / "0.npy"))
    written = run_json(capsys, "run", bundle, "--device", "sim", "--input", "image.npy", "-o", "out")["written"]
    assert [item["task"] for item in written] == ["semseg", "depth"]


@needs_linker
def test_weights_in_4_bits(capsys: pytest.CaptureFixture[str], model: Path, bundle: Path, in_folder: Path) -> None:
    """`check` places every node where it is in int8; the bundle is smaller and has the law's bits."""
    rules = ("--weights", "experts=4", "--weights", "linear=4")
    eight, four = (run_json(capsys, "check", model, "--target", "zcu104", *more)["nodes"] for more in ((), rules))
    assert four == eight
    result = run_json(capsys, "compile", model, "--target", "zcu104", *options(model), *rules, "-o", "four.edgemtl")
    assert any("weights in 4 bits, " in note for note in result["notes"])
    assert Path("four.edgemtl").stat().st_size < bundle.stat().st_size
    results = run_json(capsys, "selftest", "four.edgemtl")
    assert results["passed"]
    assert {task["tolerance"] for task in results["tasks"]} == {0}


@needs_linker
def test_it_says_what_it_decided(capsys: pytest.CaptureFixture[str], model: Path, in_folder: Path) -> None:
    arguments = (
        "compile",
        model,
        "--target",
        "zcu104",
        *options(model),
        "--memory-budget",
        "900KiB",
        "-o",
        "a.edgemtl",
    )
    result = run_json(capsys, *arguments)
    assert sum(result["on_chip"].values()) <= 900 * 1024
    notes = "\n".join(result["notes"])
    assert "experts prefetched before routing is known, from 8 images: semseg " in notes
    assert "depth: 1 segment on the accelerator of zcu104" in notes
    assert "depth/decoders.depth/Resize_2 (dequantise image) on cpu-a53: it works in float32" in notes
    with open_bundle("a.edgemtl") as opened:
        program = opened.manifest.program
        assert isinstance(program, FpgaProgram)
        assert program.on_chip == result["on_chip"]
        assert program.share < 1
        assert [host.cpu.target.name for host in program.hosts] == ["cpu-a53", "cpu-avx2"]
        left = program.tasks["depth"].left
    assert [step.kind for step in left] == ["QuantiseImage", "DequantiseImage"]


@needs_linker
def test_parameters_without_images_fetch_nothing_early(
    capsys: pytest.CaptureFixture[str], model: Path, in_folder: Path
) -> None:
    images = model.parent / "images"
    made = ("quantize", model, "--calibration", images, "--min-sqnr", "-200", "-o", "m.onnx")
    run_json(capsys, *made)
    arguments = ("compile", model, "--target", "zcu104", "--precision", "int8", "--parameters", "m.json")
    notes = run_json(capsys, *arguments, "-o", "a.edgemtl")["notes"]
    assert any(text.startswith("no experts are prefetched: the prefetch lists need images") for text in notes)
    with open_bundle("a.edgemtl") as opened:
        assert isinstance(opened.manifest.program, FpgaProgram)
        segments = [segment for task in opened.manifest.program.tasks.values() for segment in task.segments]
    assert {segment.early for segment in segments} == {((),)}


TOKEN_ORDER = "experts in token order with {}, for comparison: slower than in their own order"
ORDERS = [
    (("--expert-order", "token", "--expert-cache", 2), TOKEN_ORDER.format("a cache of 2")),
    (("--experts-on-chip", "all"), "all experts of a layer are on chip at once, for comparison"),
]
"""Other ways to run experts, and what a bundle says of each."""


def simulated(path: Path, image: np.ndarray) -> tuple[dict[str, np.ndarray], list[bytes]]:
    """Every task's output on an image, and the streams that gave it."""
    with Session.open(path, "sim", check_arena=True) as session:
        outputs = {task: session.run(task, image) for task in session.tasks}
        return outputs, [run.stream for task in session.tasks for run in session.simulate(task, image)]


@needs_linker
@pytest.mark.parametrize(("words", "note"), ORDERS, ids=["a cache of 2", "all on chip"])
def test_other_orders_of_experts_give_the_same_bits(
    capsys: pytest.CaptureFixture[str],
    model: Path,
    bundle: Path,
    in_folder: Path,
    words: tuple[object, ...],
    note: str,
) -> None:
    arguments = ("compile", model, "--target", "zcu104", *options(model), *words, "-o", "a.edgemtl")
    assert note in run_json(capsys, *arguments)["notes"]
    with open_bundle("a.edgemtl") as opened:
        assert note in opened.manifest.notes
    image = np.load(model.parent / "images" / "1.npy")
    (outputs, streams), (wanted, usual) = simulated(Path("a.edgemtl"), image), simulated(bundle, image)
    assert all(mine != theirs for mine, theirs in zip(streams, usual, strict=True))
    assert outputs.keys() == wanted.keys()
    for task, array in outputs.items():
        np.testing.assert_array_equal(array, wanted[task])


INT8 = {"precision": "int8", "calibration": Path("images")}
BOARD = INT8 | {"target": "zcu104"}
QUANTISE = {"quantise": QuantiseOptions("entropy")}
FLAGS_OF_INT8 = "--min-sqnr, --sqnr-target and --weights must come with --precision int8"
NOT_A_BOARD = "--expert-order and --experts-on-chip must come with a board, not with cpu"
REFUSED = [
    (BOARD | {"expert_order": "layer"}, "--expert-order must be one of expert, token, not 'layer'"),
    (BOARD | {"experts_on_chip": "some"}, "--experts-on-chip must be one of few, all, not 'some'"),
    ({"expert_order": "token"}, NOT_A_BOARD),
    (INT8 | {"experts_on_chip": "all"}, NOT_A_BOARD),
    (
        BOARD | {"expert_order": "token", "experts_on_chip": "all"},
        "--experts-on-chip all must come with --expert-order expert, not with token",
    ),
    (BOARD | {"expert_order": "token", "expert_cache": -1}, "--expert-cache must be between 0 and 256 experts, not -1"),
    (
        BOARD | {"expert_order": "token", "expert_cache": 257},
        "--expert-cache must be between 0 and 256 experts, not 257",
    ),
    (BOARD | {"expert_cache": 2}, "--expert-cache must come with --expert-order token, which alone has a cache"),
    ({"expert_cache": 2}, "--expert-cache must come with --expert-order token, which alone has a cache"),
    (BOARD | {"precision": "fp32"}, "--target zcu104 must come with --precision int8, not fp32: its accelerator"),
    ({"target": "my.toml"}, "--target my.toml must come with --precision int8, not fp32: its accelerator"),
    ({"pathway": "fast"}, "--pathway must be one of exact, window, calibrated, not 'fast'"),
    ({"pathway": "calibrated"}, "--pathway calibrated must come with --calibration FOLDER: it drops the experts"),
    ({"precision": "int4"}, "--precision must be one of fp32, int8, not 'int4'"),
    ({"threads": 0}, "--threads must be between 1 and 64, not 0"),
    ({"threads": 65}, "--threads must be between 1 and 64, not 65"),
    ({"mean": (0.5,)}, "--mean and --std must be given together, or neither"),
    ({"std": (0.5,)}, "--mean and --std must be given together, or neither"),
    ({"parameters": Path("m.json")}, FLAGS_OF_INT8),
    (QUANTISE, FLAGS_OF_INT8),
    (
        INT8 | QUANTISE | {"parameters": Path("m.json")},
        "--parameters must come without --method, --keep-float, --min-sqnr, --sqnr-target and --weights: the file",
    ),
]


@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_options_that_do_not_fit(given: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        CompileOptions(**given)


def test_orders_of_experts_that_do_not_fit(capsys: pytest.CaptureFixture[str], model: Path, in_folder: Path) -> None:
    """The flags are those that the messages name."""
    compiling = ("compile", model, *options(model), "-o", "x.edgemtl")
    assert_fails(capsys, 2, NOT_A_BOARD, *compiling, "--experts-on-chip", "all")
    text = "--expert-cache must be between 0 and 256 experts, not 300"
    words = ("--target", "zcu104", "--expert-order", "token", "--expert-cache", "300")
    assert_fails(capsys, 2, text, *compiling, *words)
    assert list(Path().iterdir()) == []


@needs_linker
def test_info_shows_board_and_memory(capsys: pytest.CaptureFixture[str], bundle: Path) -> None:
    manifest = run_json(capsys, "bundle", "info", bundle)["manifest"]
    assert manifest["program"]["board"]["name"] == "zcu104"
    assert main(["bundle", "info", str(bundle)]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("target zcu104 (XCZU7EV), engine ", "on chip, ring", "arena of host x86"))


@needs_linker
def test_devices_that_cannot_run_it(capsys: pytest.CaptureFixture[str], bundle: Path) -> None:
    text = "is compiled for the board zcu104; leave out --device, or give --device sim"
    for verb in ("selftest", "bench"):
        assert_fails(capsys, 3, text, verb, bundle, "--device", "cpu")
    text = (
        "a simulation's speed here says nothing about the board; use `edgemtl profile` for the board's simulated time"
    )
    assert_fails(capsys, 3, text, "bench", bundle)
    text = "--device zcu104: there is no driver for it yet; leave out --device to run"
    assert_fails(capsys, 3, text, "selftest", bundle, "--device", "zcu104")
    text = "--device must be one of cpu, sim, not 'smi'; did you mean 'sim'?"
    assert_fails(capsys, 2, text, "selftest", bundle, "--device", "smi")


@needs_linker
def test_your_own_board(capsys: pytest.CaptureFixture[str], model: Path, in_folder: Path) -> None:
    write_board(Path("my.toml"), ('name = "zcu104"', 'name = "dream"\nhypothetical = true'))
    result = run_json(capsys, "compile", model, "--target", "my.toml", *options(model), "-o", "a.edgemtl")
    assert "dream is a hypothetical board: it was never made" in result["notes"]
    assert main(["bundle", "info", "a.edgemtl"]) == 0
    assert "target dream (XCZU7EV, HYPOTHETICAL)" in capsys.readouterr().out


def test_what_a_board_needs(capsys: pytest.CaptureFixture[str], model: Path, in_folder: Path) -> None:
    text = "--target zcu104 must come with --precision int8, not fp32: its accelerator computes in integers; add"
    assert_fails(capsys, 2, text, "compile", model, "--target", "zcu104", "-o", "x.edgemtl")
    text = "--precision int8 must come with --calibration FOLDER"
    assert_fails(capsys, 2, text, "compile", model, "--target", "zcu104", "--precision", "int8", "-o", "x.edgemtl")
    text = "--target must be a target, a board, or a board's TOML file, but there is no file no.toml"
    assert_fails(capsys, 2, text, "compile", model, "--target", "no.toml", *options(model), "-o", "x.edgemtl")
    assert list(Path().iterdir()) == []


def test_budgets_with_numbers(capsys: pytest.CaptureFixture[str], model: Path, in_folder: Path) -> None:
    text = "the budget is 4096 bytes"
    arguments = ("compile", model, *options(model), "-o", "x.edgemtl")
    assert_fails(capsys, 4, text, *arguments, "--target", "zcu104", "--memory-budget", "4KiB")
    assert not Path("x.edgemtl").exists()


def reasons_of(capsys: pytest.CaptureFixture[str], model: Path, board: str | Path) -> str:
    """Why nodes stay on the host CPU, all in one text."""
    document = run_json(capsys, "check", model, "--target", board)
    assert document["supported"]
    return "\n".join(node["reason"] for node in document["nodes"])


def test_a_part_that_is_too_small(capsys: pytest.CaptureFixture[str], model: Path, in_folder: Path) -> None:
    small = write_board(Path("small.toml"), ("\ninput = { bytes = 393_216", "\ninput = { bytes = 1_024"))
    text = "memory 'input' needs 1536 bytes, the budget is 1024 bytes, 512 bytes are missing; take a board with larger"
    assert text in reasons_of(capsys, model, small)


def test_a_layer_that_no_instruction_holds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wide = export(
        tmp_path / "wide", small_config(dim=64, mlp_hidden=8500, image=CONFIG.image, head_channels=(12, 8, 6))
    )
    text = "mlp.fc2/MatMul: no instruction can hold it; LINEAR.k must be in 0..8191, not 8500; make the layer smaller"
    assert text in reasons_of(capsys, wide, "zcu104")


def test_check_says_where_every_node_runs(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    document = run_json(capsys, "check", model, "--target", "zcu104")
    assert document["supported"]
    (note,) = document["notes"]
    assert note == "quantised on 8 random inputs, for the structure only: no numbers of it mean anything"
    nodes = {node["node"]: node for node in document["nodes"]}
    assert {node["how"] for node in document["nodes"]} == {"segment 0", "cpu-a53", "cpu-a53 + segment 0", "view"}
    assert nodes["backbone.blocks.0.mlp.fc1/MatMul"]["how"] == "segment 0"
    resize = nodes["depth/decoders.depth/Resize_2"]
    assert resize["how"] == "cpu-a53"
    assert resize["reason"] == "dequantise image: it works in float32, which the accelerator does not have"
    assert nodes["backbone.blocks.0.attn/Reshape"]["how"] == "view"
    assert nodes["backbone.blocks.0.attn/Reshape"]["tasks"] == ["semseg", "depth"]


def test_check_on_images_and_with_layers_in_float(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    images = model.parent / "images"
    arguments = ("check", model, "--target", "zcu104", "--calibration", images)
    document = run_json(capsys, *arguments, "--keep-float", "*blocks.0.mlp*", "--task", "depth")
    assert document["notes"] == []
    nodes = {node["node"]: node for node in document["nodes"]}
    assert nodes["backbone.blocks.0.mlp.fc1/MatMul"]["how"] == "cpu-a53"
    assert nodes["backbone.blocks.0.mlp.fc1/MatMul"]["reason"].startswith("linear: it runs in float32")
    assert nodes["backbone.blocks.1.attn.qkv/MatMul"]["how"] == "segment 1"


def test_check_reports_what_has_no_integers(
    capsys: pytest.CaptureFixture[str], model_file: Path, in_folder: Path
) -> None:
    """The head of this model ends in a sine, which the integers do not have: the board's CPU does it."""
    model = onnx.load(model_file)
    (last,) = (node for node in model.graph.node if "semseg" in node.output)
    last.output[:] = ["angle"]
    model.graph.node.append(onnx.helper.make_node("Sin", ["angle"], ["semseg"], "sine"))
    model_file = Path("sine.onnx")
    onnx.save(model, model_file)
    document = run_json(capsys, "check", model_file, "--target", "zcu104")
    nodes = {node["node"]: node for node in document["nodes"]}
    sine = next(node for name, node in nodes.items() if name.endswith("sine"))
    assert (sine["where"], "no integer form" in sine["reason"]) == ("cpu", True)
    assert len(nodes) > 20
    shares = {share["where"]: share for share in document["shares"]}
    assert sum(share["nodes"] for share in shares.values()) == len(nodes)
    assert {"accelerator", "cpu"} <= set(shares)
    assert f"pass --keep-float {sine['node']}" in document["notes"][-1]
    summary = run_json(capsys, "check", model_file, "--target", "zcu104", "--summary")
    assert (summary["nodes"], summary["shares"]) == ([], document["shares"])
    assert main(["-q", "check", str(model_file), "--target", "zcu104", "--require-int8", "--json"]) == 3
    refused = json.loads(capsys.readouterr().out)
    assert not refused["supported"]
    assert len(refused["nodes"]) == len(nodes)
    unsupported = {node["node"] for node in refused["nodes"] if node["how"] == "unsupported"}
    assert sine["node"] in unsupported
    assert all(f"--keep-float {name}" in document["notes"][-1] for name in unsupported)


def test_check_options_that_do_not_fit(capsys: pytest.CaptureFixture[str], model: Path) -> None:
    flags = "--calibration, --parameters, --keep-float, --require-int8, --bit-exact and --weights"
    text = f"{flags} must come with a board or --precision int8, not"
    assert_fails(capsys, 2, text, "check", model, "--calibration", "images", "--precision", "fp32")
    text = "--parameters must come without --calibration, --keep-float and --weights: the file says them"
    both = ("--calibration", "images", "--parameters", "m.json")
    assert_fails(capsys, 2, text, "check", model, "--target", "zcu104", *both)
    text = "target zcu104: it is a board, which `edgemtl compile` and `edgemtl check` alone take; name one of cpu,"
    files = ("--model", model, "--task", "depth", "--input", "a.npy")
    assert_fails(capsys, 3, text, "compare", "onnx", "fp32", *files, "--target", "zcu104")
