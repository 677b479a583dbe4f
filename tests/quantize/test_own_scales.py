"""Quantised models in int8: their own scales and integers, compared with onnxruntime on the very file."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgemtl import operators as ops
from edgemtl.errors import UnsupportedError
from edgemtl.frontend import read_model
from edgemtl.lowering.execute import run_steps
from edgemtl.options import QuantiseOptions
from edgemtl.partition import partition
from edgemtl.processor import resolve
from edgemtl.quantize.limits import AS_THE_MODEL
from edgemtl.quantize.own_scales import take_scales
from edgemtl.quantize.quantised_model import Quantised, quantise, quantise_own
from edgemtl.quantize.tensors import Tensor
from edgemtl.quantize.weights import find_levels, fit_bytes, quantise_layer
from tests.support.quantised import SIZES, export_float, images, output_scales, quantise_file, run_literally

BY_LAW = QuantiseOptions(by_law=True)
SLOW = pytest.mark.slow
EXACT = ("int8", "int8 per channel", "uint8 per channel", "symmetric", "operators of integers")
"""Ways whose every convolution and linear layer has an integer form."""
CONVOLUTIONAL = [
    *(("residual", way) for way in EXACT),
    *(("depthwise", way) for way in ("int8 per channel", "symmetric")),
    *(("two tasks", way) for way in ("uint8 per channel", "symmetric uint8 weights")),
    ("decoder", "int8"),
    *(pytest.param("depthwise", way, marks=SLOW) for way in ("int8", "uint8 per channel", "operators of integers")),
    *(pytest.param("two tasks", way, marks=SLOW) for way in ("int8", "symmetric", "operators of integers")),
]
TRANSFORMERS = [
    *("int8 per channel", "operators of integers"),
    *(pytest.param(way, marks=SLOW) for way in ("int8", "uint8 per channel", "symmetric")),
]
PLACELESS = {
    "asymmetric weights": "its weights less their zero point must lie from -128 to 127",
    "16 bits": "it reads",
}
"""Ways with something that the law has no place for, and what the notes say of it."""


class Files(dict[tuple[str, str], Path]):
    """Quantised files, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, key: tuple[str, str]) -> Path:
        net, way = key
        source = self.folder / f"{net}.onnx"
        if not source.exists():
            export_float(net, source)
        self[key] = self.folder / f"{net}.{way}.onnx"
        quantise_file(source, way, self[key])
        return self[key]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("quantised"))


def quantised(path: Path, options: QuantiseOptions | None = None) -> Quantised:
    model = read_model(path)
    tasks = partition(model, [task.name for task in model.tasks], "exact")
    return quantise_own(model, tasks, resolve("cpu-avx2"), options or QuantiseOptions())


@dataclass(frozen=True)
class Difference:
    """Shares of output values: more than one LSB from onnxruntime, and not equal; the largest difference in LSB."""

    beyond: float
    unequal: float
    largest: float


def difference(path: Path, quantities: Quantised, integer: bool = True) -> dict[str, Difference]:
    """By task, over 6 images that nothing was calibrated on."""
    drawn = images(6, 9)
    expected = [run_literally(path, image) for image in drawn]
    scales = output_scales(path)
    result = {}
    for task, integers in quantities.integers.items():
        steps = integers.steps if integer else quantities.floats[task]
        ours = np.array([run_steps(steps, {"image": image}) for image in drawn])
        theirs = np.array([outputs[task].reshape(-1) for outputs in expected])
        off = np.abs(ours - theirs) / scales[task]
        result[task] = Difference(float((off > 1.01).mean()), float((off > 0.01).mean()), float(off.max()))
    return result


def check_floats(path: Path, quantities: Quantised) -> None:
    """In fp32 a model rounds as it does itself."""
    for of in difference(path, quantities, integer=False).values():
        assert of.beyond == 0


@pytest.mark.parametrize(("net", "way"), CONVOLUTIONAL)
def test_convolutional_networks_are_within_an_lsb(files: Files, net: str, way: str) -> None:
    """What the model computes between roundings is computed so; other values round the other way next to a half."""
    quantities = quantised(files[net, way])
    for task in quantities.integers.values():
        assert {island.reason for island in task.islands} <= {AS_THE_MODEL}
        assert sum(island.macs for island in task.islands) == 0
        assert task.coarsened == ()
    for of in difference(files[net, way], quantities).values():
        assert of.largest < 1.01
        assert of.unequal < 0.005
    check_floats(files[net, way], quantities)


@pytest.mark.parametrize(("net", "way"), CONVOLUTIONAL)
def test_convolutional_networks_by_the_law(files: Files, net: str, way: str) -> None:
    """Two LSB where roundings of several layers add up, in less than one value in 1000."""
    quantities = quantised(files[net, way], BY_LAW)
    for task in quantities.integers.values():
        assert task.all_integer
        assert task.islands == task.coarsened == ()
    for of in difference(files[net, way], quantities).values():
        assert of.beyond < 0.001
        assert of.largest < 2.01
        assert of.unequal < 0.1


@pytest.mark.parametrize("way", TRANSFORMERS)
def test_a_transformer_is_within_an_lsb(files: Files, way: str) -> None:
    """Softmax, LayerNorm and sums between roundings in float32, as in the model; layers and products in integers.

    A value that is rounded the other way changes all tokens by attention, so there must hardly be any.
    """
    quantities = quantised(files["transformer", way])
    (task,) = quantities.integers.values()
    kinds = Counter(type(step.operator) for step in task.steps)
    assert kinds[ops.QLinear] + kinds[ops.QConv2d] == 6
    assert kinds[ops.QProduct] == 2
    assert kinds[ops.QSoftmax] == kinds[ops.QNormalise] == 0
    (of,) = difference(files["transformer", way], quantities).values()
    assert of.largest < 1.01
    assert of.unequal < 0.01
    assert any("run in float32 between roundings, as in the model, 0.0% of" in note for note in quantities.notes)
    check_floats(files["transformer", way], quantities)


@pytest.mark.parametrize("way", TRANSFORMERS)
def test_a_transformer_by_the_law_is_close(files: Files, way: str) -> None:
    """LayerNorm and attention in integers; what has no scale runs in float32, on the same rounded values.

    A value that is rounded the other way changes all tokens by attention: onnxruntime with its optimisations is up to
    3 LSB from itself without them, in 9% of the values of one such file. The law's softmax is within 1.1% of a value,
    which rounds one in twenty of its values to a neighbour; without it the rest is as close as the rounding allows.
    """
    quantities = quantised(files["transformer", way], BY_LAW)
    (task,) = quantities.integers.values()
    kinds = Counter(type(step.operator) for step in task.steps)
    assert kinds[ops.QLinear] + kinds[ops.QConv2d] == 6
    assert (kinds[ops.QNormalise], kinds[ops.QProduct], kinds[ops.QSoftmax]) == (3, 2, 1)
    (of,) = difference(files["transformer", way], quantities).values()
    assert of.beyond < 0.05
    assert of.largest < 3.01
    without = quantised(files["transformer", way], QuantiseOptions(keep_float=("*Softmax*",), by_law=True))
    (of,) = difference(files["transformer", way], without).values()
    assert of.beyond < 0.015
    assert of.largest < 2.01


@pytest.mark.parametrize(("net", "way"), [("two tasks", way) for way in PLACELESS])
def test_what_the_law_has_no_place_for_stays_float_and_is_said(files: Files, net: str, way: str) -> None:
    quantities = quantised(files[net, way])
    for of in difference(files[net, way], quantities).values():
        assert of.beyond < 0.001
    reasons = {island.reason for task in quantities.integers.values() for island in task.islands}
    assert any(PLACELESS[way] in reason for reason in reasons), reasons
    assert any(PLACELESS[way] in note for note in quantities.notes)
    with pytest.raises(UnsupportedError, match=PLACELESS[way]):
        quantised(files[net, way], QuantiseOptions(require_int8=True))
    check_floats(files[net, way], quantities)


def test_layers_that_are_not_quantised_stay_float_without_images(files: Files) -> None:
    path = files["residual", "convolutions only"]
    quantities = quantised(path)
    (task,) = quantities.integers.values()
    assert "/head/Gemm" in {island.node for island in task.islands}
    (image,) = images(1, 9)
    expected = run_literally(path, image)["y"].reshape(-1)
    np.testing.assert_allclose(run_steps(task.steps, {"image": image}), expected, atol=0.03 * np.abs(expected).max())


def test_images_give_scales_to_the_rest_alone(files: Files) -> None:
    path = files["residual", "convolutions only"]
    model = read_model(path)
    tasks = partition(model, ["y"], "exact")
    drawn = {str(i): {"image": image} for i, image in enumerate(images(12, 3))}
    with_images = quantise(model, tasks, resolve("cpu-avx2"), drawn, BY_LAW)
    (task,) = with_images.integers.values()
    assert task.all_integer
    assert task.coarsened == ("/head/Gemm",)
    assert "/head/Gemm has weights that are not integers of 8 bits in the model" in " ".join(with_images.notes)
    assert with_images.parameters.sqnr_db["y"] > 25
    own = quantised(path, BY_LAW).integers["y"]
    convolutions = [[s.arrays() for s in t.steps if isinstance(s.operator, ops.QConv2d)] for t in (task, own)]
    for ours, theirs in zip(*convolutions, strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in ("weight", "bias"))


def test_weights_and_biases_are_the_models_own(files: Files) -> None:
    """Integers of the file, by the law's orders of axes: the zero point of x is folded into the bias."""
    path = files["residual", "int8 per channel"]
    arrays = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    (task,) = quantised(path).integers.values()
    for step in task.steps:
        if not isinstance(step.operator, ops.QConv2d):
            continue
        name = step.constant("weight").name.removesuffix(".int8")
        original = arrays[name.replace("_DequantizeLinear_Output", "_quantized")]
        weight, bias = step.constant("weight").array, step.constant("bias").array
        assert np.array_equal(weight, original)
        sums = weight.astype(np.int64).sum((1, 2, 3)) * step.operator.zero
        stored = next(a for key, a in arrays.items() if a.dtype == np.int32 and np.array_equal(a, bias + sums))
        assert stored.shape == bias.shape


def multiplied(path: Path, factors: np.ndarray, zero: int) -> None:
    """A product with a constant [3, 1, 1] of bytes, between roundings."""
    arrays = {"w": factors.astype(np.uint8 if zero else np.int8), "ws": np.float32(0.02), "xs": np.float32(0.03)}
    arrays |= {"wz": np.asarray(zero, arrays["w"].dtype), "xz": np.int8(4), "ys": np.float32(0.05), "yz": np.int8(-7)}
    pairs = [("image", "x"), ("product", "y")]
    nodes = [helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["real"])]
    for source, name in pairs:
        scales = [f"{name}s", f"{name}z"]
        nodes.append(helper.make_node("QuantizeLinear", [source, *scales], [f"{name}q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}q", *scales], [name]))
    nodes.insert(3, helper.make_node("Mul", ["x", "real"], ["product"], "product"))
    image, result = (helper.make_tensor_value_info(name, 1, SIZES) for name in ("image", "y"))
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "multiplied", [image], [result], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


def test_constants_of_a_product_are_the_models_own(tmp_path: Path) -> None:
    """Of bytes that end below 127: new ones would be others."""
    path = tmp_path / "multiplied.onnx"
    factors = np.array([-93, 31, 70]).reshape(3, 1, 1)
    multiplied(path, factors, 0)
    (task,) = quantised(path, BY_LAW).integers.values()
    (step,) = [step for step in task.steps if isinstance(step.operator, ops.QMultiply)]
    assert np.array_equal(step.constant("b").array.reshape(-1), factors.reshape(-1))
    (image,) = images(1, 5)
    off = np.abs(run_steps(task.steps, {"image": image}) - run_literally(path, image)["y"].reshape(-1)) / 0.05
    assert off.max() < 1.01
    assert np.mean(off > 0.01) < 0.01


def test_constants_of_a_product_with_a_zero_point_stay_float(tmp_path: Path) -> None:
    path = tmp_path / "multiplied.onnx"
    multiplied(path, np.array([8, 131, 255]).reshape(3, 1, 1), 3)
    quantities = quantised(path, BY_LAW)
    (task,) = quantities.integers.values()
    assert [island.reason for island in task.islands] == [PLACELESS["asymmetric weights"]]
    (image,) = images(1, 5)
    off = np.abs(run_steps(task.steps, {"image": image}) - run_literally(path, image)["y"].reshape(-1)) / 0.05
    assert off.max() < 0.01


def decomposed(path: Path) -> None:
    """A file in the form in which torch writes quantized_decomposed operators: constants as nodes, zero points of
    weights cast from int64, one pair behind a convolution, its sum with the input and the Relu.
    """
    rng = np.random.default_rng(0)
    nodes = []

    def node(op: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, list(inputs), [f"v{len(nodes)}"], f"node_{op}_{len(nodes)}", **attributes))
        return f"v{len(nodes) - 1}"

    def pair(x: str, scale: float, zero: int) -> str:
        parts = [
            node("Constant", value_float=scale),
            node("Constant", value=numpy_helper.from_array(np.array(zero, np.int8))),
        ]
        return node("DequantizeLinear", node("QuantizeLinear", x, *parts), *parts)

    def convolution(x: str, scales: np.ndarray) -> str:
        count = str(len(initializers))
        initializers.append(numpy_helper.from_array(rng.integers(-127, 128, (3, 3, 3, 3)).astype(np.int8), f"w{count}"))
        initializers.append(numpy_helper.from_array(scales.astype(np.float32), f"s{count}"))
        initializers.append(numpy_helper.from_array(np.zeros(3, np.int64), f"z{count}"))
        initializers.append(numpy_helper.from_array(rng.normal(0, 0.1, 3).astype(np.float32), f"b{count}"))
        zeros = node("Cast", f"z{count}", to=onnx.TensorProto.INT8)
        weight = node("DequantizeLinear", f"w{count}", f"s{count}", zeros, axis=0)
        return node("Conv", x, weight, f"b{count}", pads=[1] * 4)

    initializers: list[onnx.TensorProto] = []
    x = pair("image", 0.03, 4)
    x = pair(node("Relu", node("Add", convolution(x, rng.uniform(0.001, 0.002, 3)), x)), 0.02, -128)
    y = pair(convolution(x, rng.uniform(0.001, 0.002, 3)), 0.015, 20)
    nodes.append(helper.make_node("Identity", [y], ["y"], "last"))
    image, result = (helper.make_tensor_value_info(name, 1, SIZES) for name in ("image", "y"))
    graph = helper.make_graph(nodes, "decomposed", [image], [result], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.mark.parametrize("by_law", [False, True])
def test_the_form_that_torch_exports(tmp_path: Path, by_law: bool) -> None:
    """The sum of a convolution without a scale: 16 bits for all it can reach. Biases are float32 there."""
    path = tmp_path / "decomposed.onnx"
    decomposed(path)
    quantities = quantised(path, BY_LAW if by_law else None)
    (task,) = quantities.integers.values()
    assert task.all_integer == by_law
    (image,) = images(1, 5)
    off = np.abs(run_steps(task.steps, {"image": image}) - run_literally(path, image)["y"].reshape(-1)) / 0.015
    assert off.max() < 1.01
    assert np.mean(off > 0.01) < (0.1 if by_law else 0.02)


@pytest.mark.parametrize("scale", [0.003, 1 / 3, 1e-30])
def test_levels_of_weights_that_were_quantised(scale: float) -> None:
    rng = np.random.default_rng(0)
    integers = rng.integers(-127, 128, (40, 6))
    integers[:, 1] = 0
    integers[:, 2] *= 2
    weight = (integers * np.float32(scale)).astype(np.float32).astype(np.float64)
    levels = find_levels(weight)
    largest = np.abs(integers).max(0)
    divisors = np.array([np.gcd.reduce(column) or 1 for column in integers.T])
    assert np.array_equal(levels, np.maximum(largest // divisors, 1))
    assert find_levels(weight * rng.uniform(0.9, 1.1, weight.shape)) is None


def test_levels_stay_where_a_batch_norm_is_folded() -> None:
    rng = np.random.default_rng(2)
    integers = rng.integers(-127, 128, (27, 6))
    factors = rng.uniform(0.1, 3, 6).astype(np.float32)
    weight = (integers * np.float32(0.004)).astype(np.float32) * factors
    levels = find_levels(weight.astype(np.float64))
    largest, divisors = np.abs(integers).max(0), np.array([np.gcd.reduce(column) for column in integers.T])
    assert np.array_equal(levels, largest // divisors)


def test_weights_alone_that_were_quantised_keep_their_integers(tmp_path: Path) -> None:
    """With a scale for all, a channel's largest weight is below 127: new integers would be others."""
    rng = np.random.default_rng(0)
    integers = (rng.integers(-127, 128, (4, 3, 3, 3)) * np.array([1, 0.7, 0.5, 0.3]).reshape(4, 1, 1, 1)).astype(
        np.int8
    )
    arrays = {"w": integers, "s": np.float32(0.01), "z": np.int8(0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["real"]),
        helper.make_node("Conv", ["image", "real"], ["y"], pads=[1] * 4),
    ]
    image = helper.make_tensor_value_info("image", 1, SIZES)
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "weights", [image], [onnx.ValueInfoProto(name="y")], initializers)
    path = tmp_path / "weights.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    model = read_model(path)
    drawn = {str(i): {"image": image} for i, image in enumerate(images(8, 3))}
    tasks = partition(model, ["y"], "exact")
    (task,) = quantise(model, tasks, resolve("cpu-avx2"), drawn, QuantiseOptions()).integers.values()
    (step,) = [step for step in task.steps if isinstance(step.operator, ops.QConv2d)]
    weight = step.constant("weight").array.astype(int)
    times = np.abs(weight).max((1, 2, 3)) // np.abs(integers.astype(int)).max((1, 2, 3))
    assert np.array_equal(weight, integers * times.reshape(4, 1, 1, 1))


def test_a_layer_keeps_its_integers() -> None:
    """Against the integers themselves: weights that all are even and a bias that is odd."""
    rng = np.random.default_rng(1)
    integers, bias = 2 * rng.integers(-30, 31, (40, 5)), 2 * rng.integers(-9000, 9000, 5) + 1
    scale, x_scale = np.float32(0.0123), 0.05
    weight = (integers * scale).astype(np.float32).astype(np.float64)
    real = (bias * x_scale * float(scale)).astype(np.float32).astype(np.float64)
    levels = find_levels(weight)
    layer = quantise_layer("layer", weight, real, Tensor("int8", x_scale, 3), np.array([0.1]), levels)
    times = layer.weight.astype(int).sum(0) / integers.sum(0)
    assert np.array_equal(times, np.ones(5))
    assert np.array_equal(layer.bias, bias - 3 * integers.sum(0))


def test_a_layer_keeps_a_weight_of_minus_128() -> None:
    rng = np.random.default_rng(2)
    integers = rng.integers(-127, 128, (40, 4))
    integers[3], integers[4, 1:] = [-128, -128, 127, -127], 126
    weight = (integers * np.float32(0.0123)).astype(np.float32).astype(np.float64)
    levels = find_levels(weight)
    assert fit_bytes(weight, levels)
    layer = quantise_layer("layer", weight, np.zeros(4), Tensor("int8", 0.05, 3), np.array([0.1]), levels)
    assert np.array_equal(layer.weight, integers)
    assert not fit_bytes(-weight, levels)


def test_roundings_go_into_the_steps_before(files: Files) -> None:
    model = read_model(files["residual", "int8"])
    (floats,) = quantised(files["residual", "int8"]).floats.values()
    scaled = take_scales(floats)
    left = [step for step in scaled.steps if isinstance(step.operator, ops.Quantise | ops.Dequantise)]
    assert [step["x"].buffer for step in left] == ["input/image"]
    assert len(scaled.tensors) >= sum(isinstance(step.operator, ops.Conv2d) for step in floats)
    assert [type(floats[i].operator) for i in scaled.sources] == [type(step.operator) for step in scaled.steps]
    assert any("it rounds" in note for note in model.notes)


def test_tensors_are_equal_by_their_values() -> None:
    assert Tensor("int8", 0.1, 3).equals(Tensor("int8", 0.1, 3))
    assert not Tensor("int8", 0.1, 3).equals(Tensor("int8", 0.1, 4))
    assert not Tensor("int8", 0.1, 0, fold=np.ones(3)).equals(Tensor("int8", 0.1, 0))
