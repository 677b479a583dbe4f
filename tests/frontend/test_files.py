"""Damaged and hostile files: every one refused with a typed error that says what to do."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgemtl.errors import EdgemtlError, ModelError
from edgemtl.frontend import files, read_model
from tests.support.models import plain_cnn
from tests.support.run import assert_same, random_image, run_canonical, run_onnx


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        read_model(path)
    return str(error.value)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_cnn(tmp_path_factory.mktemp("cnn"))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    text = "must be an ONNX file, not a missing one or a folder; check the path"
    assert refused(tmp_path / "none.onnx") == f"{tmp_path / 'none.onnx'} {text}"
    assert refused(tmp_path) == f"{tmp_path} {text}"


def test_an_empty_and_a_huge_file(cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty.onnx"
    empty.touch()
    assert refused(empty) == f"{empty} must have 1 to 2147483647 bytes, not 0; export it again"
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 100)
    size = cnn.stat().st_size
    assert refused(cnn) == f"{cnn} must have 1 to 100 bytes, not {size}; store the weights as external data"


@pytest.mark.parametrize("data", [b"\xff" * 50, b"PK\x03\x04 not an ONNX file", b"\x08"])
def test_another_format(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(data)
    assert refused(path).startswith(f"{path} must be an ONNX model")


def test_a_model_without_nodes(tmp_path: Path) -> None:
    path = tmp_path / "nothing.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [])), path)
    assert refused(path) == f"{path} must be an ONNX model with nodes and outputs, not one without; export it again"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(cnn: Path, share: float, tmp_path: Path) -> None:
    data = cnn.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    assert refused(path).startswith(f"{path} must be an ONNX model")


def changed(source: Path, target: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    proto = onnx.load(source)
    change(proto)
    target.write_bytes(proto.SerializeToString())
    return target


def set_dims(dims: list[int]) -> Callable[[onnx.ModelProto], object]:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.initializer[0].dims[:] = dims

    return change


@pytest.mark.parametrize("dims", [[-1, 3], [1 << 40], [1 << 31, 1 << 31, 1 << 31]])
def test_negative_and_huge_shapes(cnn: Path, dims: list[int], tmp_path: Path) -> None:
    name = onnx.load(cnn).graph.initializer[0].name
    expected = f"tensor {name} must have non-negative sizes and at most 268435456 elements, not shape {dims}; "
    assert refused(changed(cnn, tmp_path / "x.onnx", set_dims(dims))) == expected + "export the model again"


def test_a_shape_without_its_data(cnn: Path, tmp_path: Path) -> None:
    text = refused(changed(cnn, tmp_path / "x.onnx", set_dims([7, 7])))
    name = onnx.load(cnn).graph.initializer[0].name
    assert text == f"tensor {name} must hold the data of its shape [7, 7]; export the model again"


def test_a_sparse_initializer(cnn: Path, tmp_path: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
        indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
        proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [5]))

    text = "initializer sparse must be dense, not sparse; store it as a plain tensor"
    assert refused(changed(cnn, tmp_path / "x.onnx", change)) == text


def test_an_expansion_is_not_computed(cnn: Path, tmp_path: Path) -> None:
    """A few bytes that ask for terabytes: refused without trying."""

    def change(proto: onnx.ModelProto) -> None:
        shape = helper.make_tensor("shape", TensorProto.INT64, [3], [1 << 14, 1 << 14, 1 << 14])
        proto.graph.initializer.append(shape)
        proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["big"], name="bomb"))
        proto.graph.node.append(helper.make_node("ReduceSum", ["big"], ["sum"], name="sum", keepdims=0))
        proto.graph.node.append(helper.make_node("Add", ["sum", "depth"], ["total"], name="add"))
        proto.graph.output.append(helper.make_tensor_value_info("total", 1, ["batch", 1, None, None]))

    start = time.perf_counter()
    text = refused(changed(cnn, tmp_path / "x.onnx", change))
    assert time.perf_counter() - start < 30
    rule = "must have from 1 to 268435456 elements, not shape [16384, 16384, 16384]; check the model's sizes"
    assert text == f"the output of node bomb {rule}"


def test_a_cycle(cnn: Path, tmp_path: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].input[0] = proto.graph.node[3].output[0]

    node = onnx.load(cnn).graph.node
    expected = f"node {node[0].name} reads '{node[3].output[0]}' before any node made it; "
    text = refused(changed(cnn, tmp_path / "x.onnx", change))
    assert text == expected + "its graph must be in order and without cycles"


@pytest.mark.parametrize("version", [0, 6, 9999])
def test_an_opset_out_of_range(cnn: Path, version: int, tmp_path: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version = version

    newest = onnx.defs.onnx_opset_version()
    text = refused(changed(cnn, tmp_path / "x.onnx", change))
    assert text == f"the model's opset must be from 7 to {newest}, not {version}; export with opset 20"


def test_an_attribute_no_operator_has(cnn: Path, tmp_path: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].attribute.append(helper.make_attribute("colour", 3))

    path = changed(cnn, tmp_path / "x.onnx", change)
    text = refused(path)
    assert text.startswith(f"{path} must be a valid ONNX model; reading it failed with ValidationError: ")
    assert "colour" in text
    assert text.endswith("; export it again")


def test_functions_that_call_each_other(cnn: Path, tmp_path: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        for name, other in (("Ping", "Pong"), ("Pong", "Ping")):
            body = [helper.make_node(other, ["x"], ["y"], domain="loop")]
            imports = [helper.make_opsetid("", 17), helper.make_opsetid("loop", 1)]
            proto.functions.append(helper.make_function("loop", name, ["x"], ["y"], body, imports))
        proto.opset_import.append(helper.make_opsetid("loop", 1))
        proto.graph.node.append(helper.make_node("Ping", ["depth"], ["pinged"], domain="loop"))
        proto.graph.output.append(helper.make_tensor_value_info("pinged", 1, None))

    path = changed(cnn, tmp_path / "x.onnx", change)
    assert refused(path).startswith(f"{path} must be a valid ONNX model; reading it failed with ")


def external(cnn: Path, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(onnx.load(cnn), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def relocate(path: Path, **keys: str) -> Path:
    """Change the external data keys of the first tensor that has them."""
    proto = onnx.load(path, load_external_data=False)
    tensor = next(t for t in proto.graph.initializer if t.data_location == TensorProto.EXTERNAL)
    kept = {entry.key: entry.value for entry in tensor.external_data} | keys
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_is_read_and_hashed(cnn: Path, tmp_path: Path) -> None:
    path = external(cnn, tmp_path)
    model = read_model(path)
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(cnn, {"image": image}))
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[5] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    assert read_model(path).sha256 != model.sha256


def test_external_data_may_lie_in_a_folder_below(cnn: Path, tmp_path: Path) -> None:
    path = external(cnn, tmp_path)
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "sub/weights.bin" if entry.key == "location" else entry.value
    path.write_bytes(proto.SerializeToString())
    (tmp_path / "sub").mkdir()
    os.rename(tmp_path / "weights.bin", tmp_path / "sub" / "weights.bin")
    assert read_model(path).tasks


HINT = "; put the weights beside the model and export it again"


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "sub/../../weights.bin", "/etc/passwd", "C:\\weights.bin", "..\\weights.bin", "", ".", "a\0b"],
)
def test_external_data_outside_the_folder(cnn: Path, location: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = relocate(external(cnn, inside), location=location)
    os.link(inside / "weights.bin", tmp_path / "weights.bin")
    text = refused(path)
    assert text.startswith("external data of tensor constant_")
    assert text.endswith(f" must name a file in the model's folder, not be {location!r}" + HINT)


def test_external_data_through_a_link(cnn: Path, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    path = external(cnn, inside)
    os.rename(inside / "weights.bin", outside / "weights.bin")
    (inside / "link.bin").symlink_to(outside / "weights.bin")
    (inside / "folder").symlink_to(outside)
    for location in ("link.bin", "folder/weights.bin"):
        text = refused(relocate(path, location=location))
        assert f" must not lead through a symbolic link, not be {location!r}" in text


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: os.mkfifo(p)])
def test_external_data_that_is_no_file(cnn: Path, make: Callable[[Path], None], tmp_path: Path) -> None:
    path = relocate(external(cnn, tmp_path), location="other")
    make(tmp_path / "other")
    assert f" must be there beside the model, not be 'other'{HINT}" in refused(path)


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"offset": "-4"}, "offset -4, length "),
        ({"offset": "999999999"}, "offset 999999999, length "),
        ({"length": "-1"}, "offset 0, length -1"),
        ({"length": "99999999999"}, "offset 0, length 99999999999"),
        ({"offset": "four"}, "offset four, length "),
    ],
)
def test_external_data_beyond_its_file(cnn: Path, keys: dict[str, str], where: str, tmp_path: Path) -> None:
    text = refused(relocate(external(cnn, tmp_path), **keys))
    assert " must be inside its file of " in text
    assert f"not at {where}" in text
    assert text.endswith("; export it again")


def test_external_data_of_the_wrong_length(cnn: Path, tmp_path: Path) -> None:
    text = refused(relocate(external(cnn, tmp_path), length="8"))
    assert " must hold the data of its shape [12, 3, 3, 3]; export the model again" in text


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6))
def test_random_damage_raises_our_errors_only(cnn: Path, changes: list[tuple[float, int]]) -> None:
    # The structure is the small part of the file: without the weights, every change hits it.
    proto = onnx.load(cnn)
    for tensor in proto.graph.initializer:
        tensor.raw_data = bytes(len(tensor.raw_data)) if np.prod(tensor.dims) > 9 else tensor.raw_data
    content = bytearray(proto.SerializeToString())
    for where, value in changes:
        content[int(where * len(content))] = value
    path = cnn.parent / "damaged.onnx"
    path.write_bytes(content)
    with contextlib.suppress(EdgemtlError):
        read_model(path)
