"""What cannot be merged is refused by name, and nothing is left behind."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemtl.cli.app import main
from tests.cli.test_errors import assert_fails
from tests.merge.test_join import Graph, plain
from tests.support.foreign import as_task_id_gather


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """a.onnx and b.onnx, which can be merged, in the current folder."""
    monkeypatch.chdir(tmp_path)
    plain(Path("a.onnx"), 1)
    plain(Path("b.onnx"), 2)
    return tmp_path


def assert_refused(capsys: pytest.CaptureFixture[str], code: int, text: str, *arguments: object) -> None:
    before = sorted(Path().rglob("*"))
    assert_fails(capsys, code, text, "merge", *arguments)
    assert sorted(Path().rglob("*")) == before


def test_a_model_that_shares_nothing(capsys, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [files / f"{name}.onnx" for name in ("semseg", "depth", "other")]
    text = f"{names[2]} must share weights with another of the files, and shares none; compile it by itself"
    assert_refused(capsys, 1, text, *names, "-o", "all.onnx")
    assert_refused(capsys, 1, text, *names, "--deltas", "8", "-o", "all.onnx")
    assert_refused(capsys, 1, text, *names, "--tolerance", "0.1", "-o", "all.onnx")


def test_weights_that_any_two_models_have_do_not_count(capsys, two):
    """Ones of the same shape, and numbers that nothing is multiplied by."""
    for name, seed in (("c", 5), ("d", 6)):
        graph = Graph()
        x = graph.op("Add", graph.image, graph.const(np.arange(192.0).reshape(1, 3, 8, 8)))
        x = graph.op("Conv", x, graph.const(np.random.default_rng(seed).standard_normal((2, 3, 1, 1))))
        graph.save(Path(f"{name}.onnx"), graph.op("Conv", x, graph.const(np.ones((2, 2, 1, 1)))))
    assert_refused(capsys, 1, "c.onnx must share weights with another", "c.onnx", "d.onnx", "-o", "all.onnx")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("a.onnx -o all.onnx", "merge must be given two models at least, not 1"),
        ("-o all.onnx", "merge must be given two models at least, not 0"),
        ("a.onnx b.onnx", "--output must be given"),
        ("a.onnx c.onnx -o all.onnx", "must be an ONNX model, but there is no file c.onnx"),
        ("a.onnx b.onnx -o a.onnx", "-o must not overwrite what is read"),
        ("a.onnx b.onnx -o no/all.onnx", "the folder of -o no/all.onnx must exist"),
        ("a.onnx b.onnx -o all.onnx --deltas 3", "--deltas must be 8 or 4, not 3"),
        ("a.onnx b.onnx -o all.onnx --tolerance 2", "--tolerance must be from 0 to 0.1, not 2"),
        ("a.onnx b.onnx -o all.onnx --tolerance nan", "--tolerance must be from 0 to 0.1, not nan"),
        ("a.onnx b.onnx -o all.onnx --min-sqnr nan", "--min-sqnr must be a number, not nan"),
        ("a.onnx b.onnx -o all.onnx --task depth", "--task must be NAME=FILE, not 'depth'"),
        ("a.onnx -o all.onnx --task a/b=b.onnx", "--task a/b=b.onnx: the name must have at most 128 letters"),
        ("--task x=a.onnx --task x=b.onnx -o all.onnx", "--task must give every name and every file once"),
        ("--task x=a.onnx --task y=a.onnx -o all.onnx", "--task must give every name and every file once"),
        ("a.onnx --task a=b.onnx -o all.onnx", "--task must name a.onnx as well: a is the name of another task"),
        ("a.onnx b.onnx -o all.onnx --mean 0,0,0", "--mean and --std must be given together and for the same tasks"),
        ("a.onnx b.onnx -o all.onnx --mean c=0,0,0", "TASK of --mean TASK=NUMBERS must be one of a, b, not 'c'"),
        ("a.onnx b.onnx -o all.onnx --mean 0,x,0", "--mean must be comma-separated numbers"),
        ("a.onnx b.onnx -o all.onnx --mean 0,0,0 --std 0,1,1", "--std must be numbers from"),
        ("a.onnx b.onnx -o all.onnx --mean 0 --mean 1 --std 1", "--mean must be given once for each task"),
    ],
)
def test_requests_that_make_no_sense(capsys, two, words, text):
    assert_refused(capsys, 2, text, *words.split())


def hostile(name: str) -> None:
    """x.onnx, which is not a model that can be merged with a.onnx."""
    path, proto = Path("x.onnx"), onnx.load("a.onnx")
    if name == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(500))
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "half":
        path.write_bytes(Path("a.onnx").read_bytes()[:-40])
    elif name == "the same bytes":
        shutil.copy("a.onnx", path)
    else:
        change(proto.graph, name)
        path.write_bytes(proto.SerializeToString())


def change(graph: onnx.GraphProto, name: str) -> None:
    if name == "a cycle":
        graph.node[0].input[0] = graph.node[-1].output[0]
    elif name == "no nodes":
        del graph.node[:]
    elif name == "two inputs":
        graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1, 3, 8, 8]))
    elif name == "an open size":
        graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    elif name == "an unknown operator":
        graph.node[1].op_type = "Frobnicate"
    elif name == "weights elsewhere":
        tensor = graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret")
    elif name == "an output of bytes":
        graph.node.append(helper.make_node("Cast", [graph.output[0].name], ["n"], to=TensorProto.UINT8))
        graph.output[0].CopyFrom(helper.make_tensor_value_info("n", TensorProto.UINT8, None))
    elif name == "random numbers":
        graph.node.append(helper.make_node("RandomNormalLike", [graph.output[0].name], ["r"]))
        graph.node.append(helper.make_node("Add", [graph.output[0].name, "r"], ["n"]))
        graph.output[0].name = "n"
    else:
        raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("noise", "x.onnx must be an ONNX model, not a damaged or different file"),
        ("empty", "x.onnx"),
        ("half", "x.onnx must be an ONNX model, not a damaged or different file"),
        ("the same bytes", "x.onnx must be another model than a.onnx, not one with the same bytes"),
        ("a cycle", "x.onnx: node Conv0 reads"),
        ("no nodes", "x.onnx must be an ONNX model with nodes and outputs"),
        ("two inputs", "must have the inputs of the first file"),
        ("an open size", "x.onnx: input image: its size is open in height (H)"),
        ("an unknown operator", "x.onnx: node Relu1: operator Frobnicate of opset 20 is unknown"),
        ("weights elsewhere", "x.onnx: external data of tensor c0 must name a file in the model's folder"),
        ("an output of bytes", "x.onnx: node Cast_4: its type is uint8"),
        ("random numbers", "x.onnx: node RandomNormalLike_4"),
    ],
)
def test_files_that_are_no_model_to_merge(capsys, two, name, text):
    hostile(name)
    before = sorted(Path().rglob("*"))
    for names in (("a.onnx", "x.onnx"), ("x.onnx", "a.onnx")):
        assert main(["-q", "merge", *names, "-o", "all.onnx"]) in (1, 2, 3)
        error = " ".join(capsys.readouterr().err.split())
        assert text in error or (name == "the same bytes" and "not one with the same bytes" in error), error
        assert "Traceback" not in error
        assert "internal" not in error
    assert sorted(Path().rglob("*")) == before


def test_a_result_that_is_there_stays_when_merging_fails(capsys, two):
    Path("all.onnx").write_bytes(b"precious")
    hostile("a cycle")
    assert_fails(capsys, 1, "x.onnx: node Conv0", "merge", "a.onnx", "x.onnx", "-o", "all.onnx")
    assert Path("all.onnx").read_bytes() == b"precious"


def test_names_of_tasks_come_from_files_or_from_the_user(capsys, two):
    Path("more").mkdir()
    plain(Path("more/a.onnx"), 3)
    assert main(["-q", "merge", "a.onnx", "b.onnx", "more/a.onnx", "-o", "all.onnx"]) == 0
    assert [value.name for value in onnx.load("all.onnx").graph.output] == ["a", "b", "a_2"]
    words = "merge b.onnx --task depth=b.onnx --task semseg=a.onnx -o all.onnx"
    assert main(["-q", *words.split()]) == 0
    assert [value.name for value in onnx.load("all.onnx").graph.output] == ["depth", "semseg"]


def test_another_domain_in_two_versions(capsys, two):
    for name, version in (("c", 1), ("d", 2)):
        proto = onnx.load("a.onnx")
        proto.doc_string = name
        proto.graph.node.append(helper.make_node("Gelu", ["y"], [name], domain="com.microsoft"))
        proto.graph.output[0].name = name
        proto.opset_import.append(helper.make_opsetid("com.microsoft", version))
        onnx.save(proto, f"{name}.onnx")
    text = "d.onnx must use version 1 of the operators of com.microsoft, as the files before it do, not 2"
    assert_refused(capsys, 1, text, "c.onnx", "d.onnx", "-o", "all.onnx")


def test_a_file_that_is_told_its_task(capsys, two):
    path = as_task_id_gather(two)
    text = "must have an output for each task, not an input that chooses one"
    graph = onnx.load(path)
    graph.doc_string = "again"
    onnx.save(graph, "c.onnx")
    assert_refused(capsys, 1, text, path, "c.onnx", "-o", "all.onnx")


def test_weights_that_change_by_more_than_a_difference_saves(capsys, two):
    """A vector of a few numbers is stored whole."""
    for name, step in (("c", 0.0), ("d", 0.01)):
        graph = Graph()
        x = graph.op("Add", graph.trunk(), graph.const(np.arange(1.0, 5.0).reshape(1, 4, 1, 1) + step))
        graph.save(Path(f"{name}.onnx"), graph.op("Tanh", x))
    assert main(["-q", "merge", "c.onnx", "d.onnx", "--deltas", "8", "-o", "all.onnx"]) == 0
    proto = onnx.load("all.onnx")
    assert "DequantizeLinear" not in [node.op_type for node in proto.graph.node]
    stored = [numpy_helper.to_array(tensor).dtype for tensor in proto.graph.initializer]
    assert {*map(str, stored)} == {"float32"}
