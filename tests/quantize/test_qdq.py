"""The QDQ model: it is valid, onnxruntime runs it close to the law, and its int8 weights are the law's own."""

import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgemtl import operators as ops
from edgemtl import partition
from edgemtl.errors import EdgemtlError, UnsupportedError, UsageError
from edgemtl.exporters.models import ModelConfig
from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import View
from edgemtl.options import QuantiseOptions
from edgemtl.partition import TaskModel
from edgemtl.processor import resolve
from edgemtl.quantize.qdq import QUANTISED, Distance, files, model, plan_files, write_both
from edgemtl.quantize.qdq.graph import GraphBuilder, Value
from edgemtl.quantize.qdq.strided import as_block, read
from edgemtl.quantize.quality import signal_to_noise
from edgemtl.quantize.quantised_model import Quantised, make_exchange, quantise, quantise_own
from tests.codegen.nets import NETS
from tests.codegen.test_plain_nets import exported
from tests.support.frames import smooth_frames
from tests.support.models import build_and_export, small_config
from tests.support.run import run_onnx

HEADS = (12, 8, 6)
"""Three enlargements by 2 make up for patches of 8."""
PLAIN, PRUNED = small_config(head_channels=HEADS), small_config(head_channels=HEADS, expert_prune=0.15)
EXPORTED = {
    "experts": (PLAIN, ()),
    "experts in float": (PLAIN, ("*MoE",)),
    "resizes in float": (PLAIN, ("*Resize*",)),
    "no experts": (replace(PLAIN, moe_blocks=()), ()),
    "class token, windows": (replace(PLAIN, class_token=True, routing="window", experts_per_task=3), ()),
    "normalised, pruned": (replace(PRUNED, routing="task_conditioned", task_embedding=5), ()),
}
FOREIGN: dict[str, tuple[str, ...]] = {"CNN": (), "separate projections": ("*upsample*",)}
"""And what has no integer form in them: a resize by 8."""
CASES = [*EXPORTED, *FOREIGN]


@dataclass(frozen=True)
class Case:
    """A quantised model, its QDQ form, and what the test needs to check it."""

    tasks: tuple[TaskModel, ...]
    quantised: Quantised
    proto: onnx.ModelProto
    distances: tuple[Distance, ...]
    float_bytes: int


def _case(path: Path, keep: tuple[str, ...], pathway: str = "exact") -> Case:
    held = read_model(path)
    images = {str(i): image for i, image in enumerate(smooth_frames(held.inputs[0], 16))}
    seen = list(images.values()) if pathway == "calibrated" else None
    tasks = partition.partition(held, [task.name for task in held.tasks], pathway, seen)
    quantised = quantise(held, tasks, resolve("cpu-avx2"), images, QuantiseOptions("minmax", keep))
    proto, distances = make_exchange(path.name, tasks, quantised, images)
    return Case(tasks, quantised, proto, distances, path.stat().st_size)


class Cases(dict[str, Case]):
    """Made when first asked for, each model exported once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._files = folder, {}

    def __missing__(self, name: str) -> Case:
        self[name] = _case(self.file(name), EXPORTED[name][1] if name in EXPORTED else FOREIGN[name])
        return self[name]

    def file(self, name: str) -> Path:
        what = EXPORTED[name][0] if name in EXPORTED else name
        if what not in self._files:
            self._files[what] = self._export(what)
        return self._files[what]

    def _export(self, what: ModelConfig | str) -> Path:
        folder = self.folder / str(len(self._files))
        folder.mkdir()
        if isinstance(what, ModelConfig):
            return build_and_export(what, 0, folder)[1]
        torch.manual_seed(0)
        exported(NETS[what](), folder / "plain.onnx")
        return folder / "plain.onnx"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(tmp_path_factory.mktemp("qdq"))


@pytest.mark.parametrize("name", CASES)
def test_it_is_valid_and_has_an_output_for_every_task(cases, name):
    case = cases[name]
    onnx.checker.check_model(case.proto, full_check=True)
    assert [output.name for output in case.proto.graph.output] == [task.task.output for task in case.tasks]
    assert [value.name for value in case.proto.graph.input] == [case.tasks[0].inputs[0].name]


@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_runs_it_close_to_the_law(cases, name):
    case = cases[name]
    for distance in case.distances:
        assert distance.qdq_to_law_db > 25, distance
        assert distance.qdq_to_float_db > distance.law_to_float_db - 4, distance
        assert distance.law_to_float_db == pytest.approx(case.quantised.parameters.sqnr_db[distance.task])


def test_distances_are_what_the_outputs_say(cases):
    case = cases["experts"]
    (image,) = smooth_frames(case.tasks[0].inputs[0], 1, seed=9)
    found = run_onnx(case.proto, image)
    for task in case.tasks:
        law = run_steps(case.quantised.integers[task.task.name].steps, image)
        assert signal_to_noise([law], [found[task.task.output].reshape(-1)]) > 25


@pytest.mark.parametrize("name", CASES)
def test_its_int8_weights_are_the_law_s(cases, name):
    case = cases[name]
    held = [numpy_helper.to_array(tensor) for tensor in case.proto.graph.initializer]
    stored = {(array.shape, array.tobytes()) for array in held if array.dtype == np.int8}
    count = 0
    for step in (s for task in case.quantised.integers.values() for s in task.steps):
        if isinstance(step.operator, ops.QLinear | ops.QPatchEmbed | ops.QConv2d):
            weight = step.constants[0].array
        elif isinstance(step.operator, ops.QExperts):
            weight = np.concatenate([c.array.T for c in step.constants[: 3 * step.operator.slots : 3]])
        else:
            continue
        count += 1
        assert (weight.shape, weight.tobytes()) in stored
    assert count >= 2


def test_everything_kept_in_float_is_the_float_model(cases):
    case = _case(cases.file("class token, windows"), ("*",))
    assert all(distance.law_to_float_db == np.inf for distance in case.distances)
    assert all(distance.qdq_to_float_db > 100 for distance in case.distances)
    assert not [node for node in case.proto.graph.node if node.op_type == "QuantizeLinear"]


def test_dropped_experts_and_chosen_candidates(tmp_path):
    case = _case(build_and_export(small_config(head_channels=HEADS, experts=9), 0, tmp_path)[1], (), "calibrated")
    assert any(len(moe.experts) < moe.total for task in case.tasks for moe in task.moe)
    assert all(distance.qdq_to_law_db > 25 for distance in case.distances)


def test_weights_take_a_quarter_and_tasks_share_the_trunk(tmp_path):
    config = small_config(head_channels=HEADS, dim=96, mlp_hidden=384, experts=8, expert_hidden=192)
    case = _case(build_and_export(config, 0, tmp_path)[1], ())
    assert case.proto.ByteSize() < 0.35 * case.float_bytes
    names = [node.name for node in case.proto.graph.node if node.op_type == "MatMul"]
    assert len([name for name in names if "blocks.0.mlp" in name]) == 1


def test_it_says_what_it_came_from(cases):
    props = {prop.key: json.loads(prop.value) for prop in cases["experts"].proto.metadata_props}
    assert [task["name"] for task in props["edgemtl"]["tasks"]] == ["semseg", "depth"]
    assert props["edgemtl"]["input"]["mean"]
    origin = props[QUANTISED]
    assert (origin["model"], origin["method"], origin["images"]) == ("model_0.onnx", "minmax", 16)
    assert origin["sha256"] == cases["experts"].quantised.parameters.model


def test_too_large_for_protobuf(cases, monkeypatch):
    monkeypatch.setattr(model, "MOST_BYTES", 1000)
    case = cases["experts"]
    with pytest.raises(UnsupportedError, match=r"must stay below 1000 bytes, not .*; quantise fewer tasks at a time"):
        make_exchange("big.onnx", case.tasks, case.quantised, {})


VIEWS = {
    "whole": lambda a: a,
    "another shape": lambda a: a.reshape(4, 60),
    "transposed": lambda a: a.transpose(2, 0, 1),
    "a column of blocks": lambda a: a[:, 1:3, 2],
    "rows behind the first": lambda a: a[1:],
    "every other": lambda a: a[:, ::2, 1:],
    "one element": lambda a: a[2:, 3:4, 4:5],
    "repeated": lambda a: np.broadcast_to(a[:1], (3, 8, 10)),
    "steps that do not divide": lambda a: a.reshape(-1)[::7],
}


@pytest.mark.parametrize(("name", "transposed"), [*itertools.product(VIEWS, (False, True))])
def test_views_read_what_numpy_reads(name, transposed):
    whole = np.arange(240, dtype=np.float32).reshape(3, 8, 10)
    seen = VIEWS[name](whole)
    seen = seen.T if transposed else seen
    offset = (seen.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // 4
    view = View("v", seen.shape, tuple(stride // 4 for stride in seen.strides), offset)
    graph = GraphBuilder({"x"})
    found = read(graph, Value("x", whole.shape), view)
    if name in ("repeated", "steps that do not divide"):
        assert as_block(view, whole.size) is None
    np.testing.assert_array_equal(_run(graph, found, whole), seen)


def _run(graph: GraphBuilder, value: Value, x: np.ndarray) -> np.ndarray:
    ends = [onnx.helper.make_node("Identity", [value.name], ["y"])]
    info = [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("x", "y")]
    made = onnx.helper.make_graph([*graph.nodes, *ends], "views", info[:1], info[1:], graph.initializers)
    imports = [onnx.helper.make_opsetid("", 21)]
    return run_onnx(onnx.helper.make_model(made, opset_imports=imports, ir_version=10), {"x": x})["y"]


def test_files_are_planned_before_anything_is_done(tmp_path):
    source = tmp_path / "model.onnx"
    source.write_bytes(b"model")
    assert plan_files(tmp_path / "m.int8.onnx", (source,)).parameters == tmp_path / "m.int8.json"
    with pytest.raises(UsageError, match=r"-o must end in \.onnx, since the parameters go to \.json beside it, not m"):
        plan_files(Path("m.int8"), (source,))
    with pytest.raises(UsageError, match=r"the folder of -o .*nowhere/m\.onnx must exist; create it first"):
        plan_files(tmp_path / "nowhere" / "m.onnx", (source,))
    with pytest.raises(UsageError, match="-o must not overwrite what is read"):
        plan_files(source, (source,))
    parameters = tmp_path / "m.json"
    parameters.write_bytes(b"parameters")
    with pytest.raises(UsageError, match="-o, for the parameters beside it, must not overwrite what is read"):
        plan_files(tmp_path / "m.onnx", (source, parameters))
    parameters.unlink()


@pytest.mark.parametrize("before", [None, b"good"])
def test_both_files_or_neither(cases, tmp_path, before):
    case, made = cases["experts"], files.Files(tmp_path / "m.onnx", tmp_path / "m.json")
    if before is not None:
        made.model.write_bytes(before)
    made.parameters.mkdir()
    (made.parameters / "in the way").touch()
    with pytest.raises(EdgemtlError, match=r"m\.onnx must be written, and that failed: Is a directory; what was"):
        write_both(made, case.proto, case.quantised.parameters, case.quantised.floats)
    assert (made.model.read_bytes() if made.model.exists() else None) == before
    assert {path.name for path in tmp_path.iterdir()} == ({"m.json"} if before is None else {"m.json", "m.onnx"})


def test_a_convolutional_network_is_read_back_to_the_bit(cases, tmp_path):
    """The QDQ file alone gives the integers that it was made from."""
    before, after, frame = _read_back(cases["CNN"], tmp_path)
    for task, integers in before.items():
        assert np.array_equal(run_steps(integers.steps, frame), run_steps(after[task].steps, frame))


def test_a_transformer_is_read_back_with_its_weights(cases, tmp_path):
    """Its attention has no integers inside of it in the file."""
    before, after, frame = _read_back(cases["no experts"], tmp_path)
    for task, integers in before.items():
        assert _weights(integers) <= _weights(after[task])
        results = [run_steps(each.steps, frame) for each in (integers, after[task])]
        assert signal_to_noise([results[0]], [results[1]]) > 25


def _read_back(case: Case, folder: Path):
    """The integer tasks that a QDQ file was made from, those it is read back as, and a frame."""
    path = folder / "model.int8.onnx"
    onnx.save(case.proto, path)
    reread = read_model(path)
    tasks = partition.partition(reread, [task.name for task in reread.tasks], "exact")
    own = quantise_own(reread, tasks, resolve("cpu-avx2"), QuantiseOptions(by_law=True))
    (frame,) = smooth_frames(reread.inputs[0], 1, seed=9)
    return case.quantised.integers, own.integers, frame


def _weights(task) -> set[bytes]:
    """The sorted int8 weights of every linear layer and convolution."""
    layers = [step for step in task.steps if isinstance(step.operator, ops.QLinear | ops.QConv2d)]
    return {np.sort(step.constant("weight").array, None).tobytes() for step in layers}
