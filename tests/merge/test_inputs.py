"""Files that normalise the image in different places, against onnxruntime on what each file takes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemtl.frontend import read_model
from edgemtl.merge.affine import leading_affine
from tests.cli.test_errors import assert_fails
from tests.cli.test_verbs import run_json
from tests.support.run import run_onnx
from tests.support.single_tasks import HALVES, IMAGENET, SIZE

SHAPE = (1, 3, SIZE, SIZE)


def numbers(values: tuple[float, ...]) -> str:
    return ",".join(map(str, values))


def options(**normals: tuple[tuple[float, ...], ...]) -> list[str]:
    """--mean and --std of each task."""
    return [
        word
        for task, (mean, std) in normals.items()
        for word in ("--mean", f"{task}={numbers(mean)}", "--std", f"{task}={numbers(std)}")
    ]


def as_taken(pixels: np.ndarray, normal: tuple[tuple[float, ...], ...]) -> np.ndarray:
    mean, std = (np.array(values, np.float32)[:, None, None] for values in normal)
    return (pixels - mean) / std


def pixels() -> np.ndarray:
    return np.random.default_rng(1).random(SHAPE, np.float32)


RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_one_normalisation_in_both_graphs_is_shared(capsys, files, tmp_path):
    document = run_json(capsys, "merge", files / "raw_a.onnx", files / "raw_b.onnx", "-o", tmp_path / "all.onnx")
    assert document["shared_until"] == "/trunk/norm/LayerNormalization"
    operators = [node.op_type for node in onnx.load(tmp_path / "all.onnx").graph.node]
    assert operators[:3] == ["Sub", "Div", "Conv"]
    assert operators.count("Conv") == 1 + 2


def test_a_normalisation_outside_moves_behind_the_input_and_meets_one_inside(capsys, files, tmp_path):
    """semseg takes a normalised image and raw_a normalises by itself: after merging both read pixels / 255."""
    chosen = options(semseg=IMAGENET, raw_a=RAW)
    document = run_json(
        capsys, "merge", files / "semseg.onnx", files / "raw_a.onnx", *chosen, "-o", tmp_path / "all.onnx"
    )
    assert document["shared_until"] == "/trunk/norm/LayerNormalization"
    assert any("takes pixels / 255 and normalises them" in note for note in document["notes"])
    spec = read_model(tmp_path / "all.onnx").inputs[0]
    assert (spec.mean, spec.std) == RAW
    outputs = run_onnx(tmp_path / "all.onnx", {"image": pixels()}, optimise=False)
    expected = run_onnx(files / "semseg.onnx", {"image": as_taken(pixels(), IMAGENET)}, optimise=False)
    np.testing.assert_array_equal(outputs["semseg"], expected["output"])
    expected = run_onnx(files / "raw_a.onnx", {"image": pixels()}, optimise=False)
    np.testing.assert_array_equal(outputs["raw_a"], expected["output"])


def test_two_normalisations_outside_move_behind_the_input(capsys, files, tmp_path):
    chosen = options(semseg=IMAGENET, depth=HALVES)
    document = run_json(
        capsys, "merge", files / "semseg.onnx", files / "depth.onnx", *chosen, "-o", tmp_path / "all.onnx"
    )
    assert document["shared_until"] is None
    assert document["model_bytes"] < 0.6 * document["file_bytes"]
    outputs = run_onnx(tmp_path / "all.onnx", {"image": pixels()}, optimise=False)
    for task, normal in (("semseg", IMAGENET), ("depth", HALVES)):
        expected = run_onnx(files / f"{task}.onnx", {"image": as_taken(pixels(), normal)}, optimise=False)
        np.testing.assert_array_equal(outputs[task], expected["output"])


def test_one_normalisation_of_all_is_recorded(capsys, files, tmp_path):
    chosen = ("--mean", numbers(IMAGENET[0]), "--std", numbers(IMAGENET[1]))
    run_json(capsys, "merge", files / "semseg.onnx", files / "depth.onnx", *chosen, "-o", tmp_path / "all.onnx")
    spec = read_model(tmp_path / "all.onnx").inputs[0]
    assert (spec.mean, spec.std) == IMAGENET


def test_different_normalisations_in_the_graphs_part_at_the_image(capsys, files, tmp_path):
    document = run_json(capsys, "merge", files / "raw_a.onnx", files / "raw_c.onnx", "-o", tmp_path / "all.onnx")
    assert document["shared_until"] is None
    assert document["model_bytes"] < 0.6 * document["file_bytes"]
    (note,) = (note for note in document["notes"] if "normalised in the graphs by mean 0.485,0.456,0.406" in note)
    assert "mean 0.5,0.5,0.5, std 0.5,0.5,0.5" in note
    outputs = run_onnx(tmp_path / "all.onnx", {"image": pixels()}, optimise=False)
    for task in ("raw_a", "raw_c"):
        expected = run_onnx(files / f"{task}.onnx", {"image": pixels()}, optimise=False)
        np.testing.assert_array_equal(outputs[task], expected["output"])


def test_a_normalisation_that_only_one_graph_has_is_refused(capsys, files, tmp_path):
    text = f"{files / 'semseg.onnx'} must take the same image as {files / 'raw_a.onnx'}, but only"
    for names in (("semseg", "raw_a"), ("raw_a", "semseg")):
        paths = [files / f"{name}.onnx" for name in names]
        assert_fails(capsys, 1, text, "merge", *paths, "-o", tmp_path / "all.onnx")
    assert not list(tmp_path.iterdir())


def test_a_normalisation_that_only_one_file_records_is_refused(capsys, files, tmp_path):
    text = f"{files / 'depth.onnx'} must record its normalisation, as {files / 'semseg.onnx'} does (mean 0.485"
    paths, chosen = [files / f"{name}.onnx" for name in ("semseg", "depth")], options(semseg=IMAGENET)
    assert_fails(capsys, 1, text, "merge", *paths, *chosen, "-o", tmp_path / "all.onnx")
    text = "--mean and --std must have 3 numbers, one a channel of"
    chosen = ("--mean", "0.5", "--std", "0.5")
    assert_fails(capsys, 2, text, "merge", *paths, *chosen, "-o", tmp_path / "all.onnx")
    assert not list(tmp_path.iterdir())


def small(path: Path, *arithmetic: tuple[str, object], size: int = 4, seed: int = 0) -> Path:
    """A convolution behind (operator, constant) on the image."""
    weight = np.random.default_rng(seed).standard_normal((2, 3, 1, 1)).astype(np.float32)
    constants, nodes, value = [numpy_helper.from_array(weight, "weight")], [], "image"
    for index, (op, constant) in enumerate(arithmetic):
        constants.append(numpy_helper.from_array(np.array(constant, np.float32), f"c{index}"))
        nodes.append(helper.make_node(op, [value, f"c{index}"], [f"v{index}"]))
        value = f"v{index}"
    nodes += [helper.make_node("Conv", [value, "weight"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 2, size, size])
    graph = helper.make_graph(nodes, "g", [image], [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def test_other_ranges_of_pixels_and_sizes_are_refused(capsys, tmp_path):
    a = small(tmp_path / "a.onnx", ("Sub", 0.5), ("Div", 0.5))
    b = small(tmp_path / "b.onnx", ("Div", 255.0), ("Sub", 0.5), ("Div", 0.5))
    text = "the one normalises it by mean 127.5,127.5,127.5, std 127.5,127.5,127.5, the other by mean 0.5,0.5,0.5"
    assert_fails(capsys, 1, text, "merge", a, b, "-o", tmp_path / "all.onnx")
    c = small(tmp_path / "c.onnx", ("Sub", 0.5), ("Div", 0.5), size=5)
    text = (
        f"{c} must take image as float32 [1, 3, 4, 4], as {a} does, not float32 [1, 3, 5, 5]; export both with one size"
    )
    assert_fails(capsys, 1, text, "merge", a, c, "-o", tmp_path / "all.onnx")


CHANNELS = np.array([2.0, 4.0, 8.0]).reshape(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("arithmetic", "factor", "summand"),
    [
        ((("Sub", 0.5), ("Div", CHANNELS)), 1 / CHANNELS, -0.5 / CHANNELS),
        ((("Mul", CHANNELS[0]), ("Add", 3.0), ("Mul", 2.0)), 2 * CHANNELS, 6.0),
        ((), None, None),
        ((("Add", np.ones((1, 3, 4, 4))),), None, None),
        ((("Mul", 0.0),), None, None),
        ((("Sub", 0.5), ("Max", 0.0)), 1.0, -0.5),
    ],
)
def test_what_a_graph_does_to_the_image_first(tmp_path, arithmetic, factor, summand):
    from edgemtl.frontend.exact import read_exactly

    affine = leading_affine(read_exactly(small(tmp_path / "a.onnx", *arithmetic), 20).ir.graph.inputs[0])
    if factor is None:
        assert affine is None
    else:
        np.testing.assert_allclose(affine.factor, np.broadcast_to(factor, (1, 3, 1, 1)).reshape(-1))
        np.testing.assert_allclose(affine.summand, np.broadcast_to(summand, (1, 3, 1, 1)).reshape(-1))


def test_files_of_our_exporter_resize_in_one_way(capsys, tmp_path):
    """What metadata records is kept, and pictures that are resized in two ways are refused."""
    names = []
    for index, resize in enumerate(("pillow-bicubic", "pillow-bicubic", "torch-bilinear")):
        path = small(tmp_path / f"{index}.onnx")
        proto = onnx.load(path)
        proto.doc_string = str(index)
        entry = f'"name":"image","mean":[0.5,0.5,0.5],"std":[0.5,0.5,0.5],"resize_filter":"{resize}"'
        task = '"name":"y","output":"z","kind":"other","channels":2'
        text = f'{{"schema_version":1,"tasks":[{{{task}}}],"input":{{{entry}}}}}'
        proto.metadata_props.add(key="edgemtl", value=text)
        onnx.save(proto, path)
        names.append(path)
    run_json(capsys, "merge", *names[:2], "-o", tmp_path / "all.onnx")
    spec = read_model(tmp_path / "all.onnx").inputs[0]
    assert (spec.mean, spec.std, spec.resize_filter) == (*HALVES, "pillow-bicubic")
    text = f"{names[2]} must resize pictures by pillow-bicubic, as {names[0]} does, not by torch-bilinear"
    assert_fails(capsys, 1, text, "merge", *names, "-o", tmp_path / "none.onnx")
