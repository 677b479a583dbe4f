"""Operators that onnxruntime puts into optimised models: written out, and equal to what onnxruntime runs itself."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgemtl.errors import UnsupportedError
from edgemtl.frontend import read_model
from examples.foreign import Writer
from tests.support.models import as_dense, plain_cnn, plain_vit
from tests.support.run import assert_same, random_image, run_canonical, run_onnx

TOKENS, DIM = 16, 24
RNG = np.random.default_rng(0)
MICROSOFT = {"domain": "com.microsoft"}


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape) / 3


def model_of(folder: Path, write, opset: int = 17) -> Path:
    """The image [1, 24, 4, 4] as tokens [1, 16, 24], and what `write(writer, tokens)` makes of them as outputs."""
    w = Writer()
    tokens = w.op("Transpose", w.op("Reshape", "image", w.ints(1, DIM, TOKENS)), perm=[0, 2, 1])
    results = write(w, tokens)
    names = results if isinstance(results, tuple) else (results,)
    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    image = helper.make_tensor_value_info("image", 1, [1, DIM, 4, 4])
    graph = helper.make_graph(w.nodes, "contributed", [image], outputs, w.initializers())
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    path = folder / "contributed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


def skip_norm(w: Writer, kind: str, *inputs: str) -> tuple[str, str]:
    """The normalised sum and the sum itself."""
    name = f"{kind}_{len(w.nodes)}"
    node = helper.make_node(kind, list(inputs), [name, "", "", f"{name}_sum"], name=name, epsilon=1e-3, **MICROSOFT)
    w.nodes.append(node)
    return w.op("Relu", name), w.op("Relu", f"{name}_sum")


def attention(w: Writer, x: str, columns: int = 3 * DIM, **attributes: object) -> str:
    return w.op("Attention", x, w.const(normal(DIM, columns)), w.const(normal(columns)), **MICROSOFT, **attributes)


def projections(w: Writer, x: str) -> list[str]:
    return [w.op("MatMul", x, w.const(normal(DIM, columns))) for columns in (DIM, DIM, 2 * DIM)]


def fused_conv(w: Writer, activation: str, parameters: list[float], *summand: str) -> str:
    more = {"activation_params": parameters} if parameters else {}
    operands = ["image", w.const(normal(DIM, 12, 3, 3)), w.const(normal(DIM)), *summand]
    attributes = {"kernel_shape": [3, 3], "pads": [1] * 4, "group": 2, "activation": activation}
    return w.op("FusedConv", *operands, **MICROSOFT, **attributes, **more)


def fused_gemm(w: Writer, x: str, activation: str, **parameters: float) -> str:
    matrix = w.op("Squeeze", x, w.ints(0))
    attributes = {"transB": 1, "alpha": 0.5, "beta": 2.0, "activation": activation}
    operands = matrix, w.const(normal(10, DIM)), w.const(normal(10))
    return w.op("FusedGemm", *operands, **MICROSOFT, **attributes, **parameters)


def batch_product(w: Writer, x: str, second: tuple[int, ...], **attributes: int) -> str:
    """Of tokens [2, 8, 4, 6] and a matrix of the same rank."""
    split = w.op("Reshape", x, w.ints(2, 8, 4, 6))
    return w.op("FusedMatMul", split, w.const(normal(*second)), **MICROSOFT, **attributes)


def embedding(w: Writer, x: str) -> str:
    ids, segments = w.const([[3, 1, 2]], np.int32), w.const([[0, 1, 1]], np.int32)
    tables = [w.const(normal(rows, DIM)) for rows in (5, 7, 2)]
    scale, shift = w.const(normal(DIM)), w.const(normal(DIM))
    words = w.op("EmbedLayerNormalization", ids, segments, *tables, scale, shift, **MICROSOFT, outputs=2)[0]
    return w.op("MatMul", words, w.op("Transpose", x, perm=[0, 2, 1]))


CASES = {
    "attention": lambda w, x: attention(w, x, num_heads=3),
    "attention scaled": lambda w, x: attention(w, x, num_heads=4, scale=0.7),
    "attention sizes": lambda w, x: attention(w, x, 2 * DIM, num_heads=3, qkv_hidden_sizes=[12, 12, 24]),
    "attention causal": lambda w, x: attention(w, x, num_heads=3, unidirectional=1),
    "attention without bias": lambda w, x: w.op("Attention", x, w.const(normal(DIM, 72)), num_heads=3, **MICROSOFT),
    "attention biased": lambda w, x: w.op(
        "Attention", x, w.const(normal(DIM, 72)), "", "", "", w.const(normal(1, 3, 16, 16)), num_heads=3, **MICROSOFT
    ),
    "heads": lambda w, x: w.op("MultiHeadAttention", *projections(w, x), num_heads=4, **MICROSOFT),
    "heads causal": lambda w, x: w.op(
        "MultiHeadAttention", *projections(w, x), num_heads=4, unidirectional=1, **MICROSOFT
    ),
    "heads biased": lambda w, x: w.op(
        "MultiHeadAttention",
        *projections(w, x),
        w.const(normal(4 * DIM)),
        "",
        w.const(normal(1, 1, 16, 16)),
        num_heads=4,
        scale=0.3,
        **MICROSOFT,
    ),
    "BiasGelu": lambda w, x: w.op("BiasGelu", x, w.const(normal(DIM)), **MICROSOFT),
    "Gelu": lambda w, x: w.op("Gelu", x, **MICROSOFT),
    "FastGelu": lambda w, x: w.op("FastGelu", x, **MICROSOFT),
    "FastGelu biased": lambda w, x: w.op("FastGelu", x, w.const(normal(DIM)), **MICROSOFT),
    "QuickGelu": lambda w, x: w.op("QuickGelu", x, **MICROSOFT),
    "QuickGelu alpha": lambda w, x: w.op("QuickGelu", x, alpha=1.0, **MICROSOFT),
    "FusedConv Relu": lambda w, x: fused_conv(w, "Relu", [], "image"),
    "FusedConv Tanh": lambda w, x: fused_conv(w, "Tanh", []),
    "FusedConv Sigmoid": lambda w, x: fused_conv(w, "Sigmoid", []),
    "FusedConv HardSwish": lambda w, x: fused_conv(w, "HardSwish", []),
    "FusedConv LeakyRelu": lambda w, x: fused_conv(w, "LeakyRelu", [0.3]),
    "FusedConv Clip": lambda w, x: fused_conv(w, "Clip", [-0.2, 0.5]),
    "FusedConv HardSigmoid": lambda w, x: fused_conv(w, "HardSigmoid", [0.3, 0.4]),
    "FusedGemm Relu": lambda w, x: fused_gemm(w, x, "Relu"),
    "FusedGemm LeakyRelu": lambda w, x: fused_gemm(w, x, "LeakyRelu", activation_alpha=0.3),
    "FusedGemm HardSigmoid": lambda w, x: fused_gemm(w, x, "HardSigmoid", activation_alpha=0.3, activation_beta=0.4),
    "FusedMatMul A": lambda w, x: w.op("FusedMatMul", x, x, transA=1, alpha=0.3, **MICROSOFT),
    "FusedMatMul B": lambda w, x: w.op("FusedMatMul", x, x, transB=1, **MICROSOFT),
    "FusedMatMul batch A": lambda w, x: batch_product(w, x, (8, 4, 6, 5), transBatchA=1),
    "FusedMatMul batch A both": lambda w, x: batch_product(w, x, (8, 4, 2, 5), transBatchA=1, transA=1),
    "FusedMatMul batch B": lambda w, x: batch_product(w, x, (6, 2, 8, 5), transBatchB=1),
    "FusedMatMul batch B both": lambda w, x: batch_product(w, x, (5, 2, 8, 6), transBatchB=1, transB=1),
    "FusedMatMul plain": lambda w, x: batch_product(w, x, (2, 8, 6, 5)),
    "TransposeMatMul": lambda w, x: w.op("TransposeMatMul", x, w.const(normal(30, DIM)), transB=1, **MICROSOFT),
    "SkipLayerNormalization": lambda w, x: skip_norm(
        w, "SkipLayerNormalization", x, w.const(normal(TOKENS, DIM)), *(w.const(normal(DIM)) for _ in range(3))
    ),
    "SkipLayerNormalization bare": lambda w, x: skip_norm(w, "SkipLayerNormalization", x, x, w.const(normal(DIM))),
    "SkipSimplifiedLayerNormalization": lambda w, x: skip_norm(
        w, "SkipSimplifiedLayerNormalization", x, x, w.const(normal(DIM)), w.const(normal(DIM))
    ),
    "EmbedLayerNormalization": embedding,
}


def check(path: Path) -> None:
    model = read_model(path)
    assert {node.domain for node in model.ir.graph} == {""}
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))


@pytest.mark.parametrize("name", CASES)
def test_equals_onnxruntimes_own_operator(name: str, tmp_path: Path) -> None:
    check(model_of(tmp_path, CASES[name]))


@pytest.mark.parametrize("opset", [7, 11, 13, 20, 22])
def test_in_any_opset(opset: int, tmp_path: Path) -> None:
    check(model_of(tmp_path, lambda w, x: attention(w, w.op("Gelu", x, **MICROSOFT), num_heads=3), opset))


def root_mean_square(w: Writer, x: str, axis: int = -1, shape: tuple[int, ...] = (DIM,)) -> str:
    return w.op("SimplifiedLayerNormalization", x, w.const(normal(*shape)), axis=axis, epsilon=1e-3)


@pytest.mark.parametrize(
    ("write", "opsets"),
    [
        (root_mean_square, (7, 11, 17, 20)),
        (lambda w, x: root_mean_square(w, x, 1, (TOKENS, DIM)), (17,)),
        (lambda w, x: w.op("LayerNormalization", x, w.const(normal(DIM)), w.const(normal(DIM))), (7, 11, 16)),
        (lambda w, x: w.op("LayerNormalization", x, w.const(normal(DIM))), (13,)),
        (lambda w, x: w.op("MeanVarianceNormalization", "image"), (9, 13, 17)),
        (lambda w, x: w.op("MeanVarianceNormalization", x, axes=[1, 2]), (13, 18)),
        (lambda w, x: w.op("GroupNormalization", "image", *_affine(w, 3), num_groups=3, epsilon=1e-2), (18, 20)),
        (lambda w, x: w.op("GroupNormalization", "image", *_affine(w, DIM), num_groups=3), (21, 22)),
    ],
    ids=["rms", "rms axes", "layer", "layer bare", "mean variance", "mean variance axes", "group 18", "group 21"],
)
def test_operators_of_the_standard_domain_that_onnx_has_in_part(write, opsets: tuple[int, ...], tmp_path: Path) -> None:
    for opset in opsets:
        check(model_of(tmp_path, write, opset))


def _affine(w: Writer, size: int) -> tuple[str, str]:
    return w.const(normal(size)), w.const(normal(size))


def test_operators_without_a_kernel_for_the_cpu(tmp_path: Path) -> None:
    """By their documentation, in numpy; the erf of a GELU is onnxruntime's."""
    bias, skip = normal(DIM).astype(np.float32), normal(TOKENS, DIM).astype(np.float32)

    def write(w: Writer, x: str) -> tuple[str, ...]:
        add = w.op("BiasAdd", x, w.const(bias), w.const(skip), **MICROSOFT)
        softmax = w.op("BiasSoftmax", x, w.const(bias), axis=2, **MICROSOFT)
        split = w.op("BiasSplitGelu", x, w.const(bias), **MICROSOFT)
        product = w.op("GemmFastGelu", x, w.const(np.eye(DIM)), w.const(bias), **MICROSOFT)
        return add, softmax, split, product, w.op("BiasGelu", x, w.const(bias), **MICROSOFT), w.op("Sin", x)

    model = read_model(model_of(tmp_path, write))
    image = random_image(model.inputs[0].shape)
    add, softmax, split, product, gelu, _ = run_canonical(model, image).values()
    x = image.reshape(1, DIM, TOKENS).transpose(0, 2, 1)
    exponent = np.exp(x + bias)
    np.testing.assert_allclose(add, x + bias + skip, atol=1e-6)
    np.testing.assert_allclose(softmax, exponent / exponent.sum(-1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(split, (x + bias)[..., :12] * gelu[..., 12:], atol=1e-6)
    cube = np.sqrt(2 / np.pi) * (x + bias + 0.044715 * (x + bias) ** 3)
    np.testing.assert_allclose(product, 0.5 * (x + bias) * (1 + np.tanh(cube)), atol=1e-5)


def mask(w: Writer, x: str) -> str:
    weights, bias = w.const(normal(DIM, 72)), w.const(normal(72))
    return w.op("Attention", x, weights, bias, w.const(np.ones((1, 16)), np.int32), num_heads=3, **MICROSOFT)


def present(w: Writer, x: str) -> str:
    return w.op("Attention", x, w.const(normal(DIM, 72)), num_heads=3, outputs=2, **MICROSOFT)[1]


def packed(w: Writer, x: str) -> str:
    joined = w.op("Reshape", w.op("MatMul", x, w.const(normal(DIM, 72))), w.ints(1, 16, 4, 3, 6))
    return w.op("MultiHeadAttention", joined, num_heads=4, **MICROSOFT)


def wide_softmax(w: Writer, x: str) -> str:
    return w.op("BiasSoftmax", x, x, axis=1, **MICROSOFT)


@pytest.mark.parametrize(
    ("write", "operator", "reason"),
    [
        (mask, "Attention", "its input mask_index is not expanded"),
        (present, "Attention", "its output present is not expanded"),
        (lambda w, x: attention(w, x, num_heads=3, do_rotary=1), "Attention", "it rotates positions"),
        (lambda w, x: attention(w, x), "Attention", "it has 0 heads"),
        (packed, "MultiHeadAttention", "its queries, keys and values are packed or split into heads"),
        (wide_softmax, "BiasSoftmax", "its softmax is over more than the last axis"),
        (lambda w, x: fused_conv(w, "Elu", []), "FusedConv", "its activation is Elu"),
        (
            lambda w, x: w.op("FusedMatMul", w.const(normal(24)), x, transA=1, **MICROSOFT),
            "FusedMatMul",
            "it transposes a vector",
        ),
    ],
)
def test_refuses_other_uses_by_name(write, operator: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        read_model(model_of(tmp_path, write))
    text = f": com.microsoft::{operator} has no expansion to standard operators: {reason}; save the model before"
    assert text in str(error.value)


def test_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        read_model(model_of(tmp_path, lambda w, x: w.op("QAttention", x, x, x, **MICROSOFT)))
    text = "operator QAttention of domain com.microsoft has no expansion to standard operators; "
    assert str(error.value).endswith(
        text + "save the model before onnxruntime optimises it, or replace the node by standard operators"
    )


def test_a_rank_that_is_unknown(tmp_path: Path) -> None:
    """The shape of a reshape that is computed from the data."""

    def write(w: Writer, x: str) -> str:
        length = w.op("Cast", w.op("ReduceSum", x, keepdims=0), to=7)
        shaped = w.op("Reshape", x, w.op("ConstantOfShape", w.op("Reshape", length, w.ints(1))))
        return w.op("FusedMatMul", shaped, shaped, transA=1, **MICROSOFT)

    with pytest.raises(UnsupportedError, match=r"FusedMatMul has no .*: the rank of its input Reshape_.* is unknown"):
        read_model(model_of(tmp_path, write))


def optimise(source: Path, target: Path, level: str) -> Path:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    return target


def test_models_that_onnxruntime_has_optimised(exported: Path, tmp_path: Path) -> None:
    sources = [plain_vit(tmp_path), plain_cnn(tmp_path), exported, as_dense(exported, tmp_path)]
    for source in sources:
        path = optimise(source, tmp_path / "optimised.onnx", "EXTENDED")
        assert "com.microsoft" in {node.domain for node in onnx.load(path).graph.node}
        model = read_model(path)
        assert len(model.moe) == len(read_model(source).moe)
        image = random_image(model.inputs[0].shape)
        assert_same(run_canonical(model, image), run_onnx(source, {model.inputs[0].name: image}))


def test_models_optimised_for_one_processor_are_refused(tmp_path: Path) -> None:
    """The domain alone decides; which layouts onnxruntime writes depends on the processor."""
    path = model_of(tmp_path, lambda w, x: w.op("ReorderOutput", "image", channels=24, domain="com.microsoft.nchwc"))
    with pytest.raises(UnsupportedError) as error:
        read_model(path)
    text = "operator ReorderOutput of domain com.microsoft.nchwc is for the layout of one processor; save the optimised"
    assert f"{text} model with ORT_ENABLE_EXTENDED at most, or export it before onnxruntime" in str(error.value)


def test_inside_a_branch(tmp_path: Path) -> None:
    branches = {}
    for name, kind in (("then_branch", "Gelu"), ("else_branch", "FastGelu")):
        inner = Writer(f"{name}/")
        result = inner.op(kind, "tokens", **MICROSOFT)
        graph = helper.make_graph(inner.nodes, name, [], [onnx.ValueInfoProto(name=result)], inner.initializers())
        branches[name] = graph

    def write(w: Writer, x: str) -> str:
        w.nodes.append(helper.make_node("Relu", [x], ["tokens"]))
        return w.op("If", w.const(True, np.bool_), **branches)

    check(model_of(tmp_path, write))


def test_tensors_of_constants_give_ranks(tmp_path: Path) -> None:
    def write(w: Writer, x: str) -> str:
        value = numpy_helper.from_array(normal(4, DIM).astype(np.float32))
        w.nodes.append(helper.make_node("Constant", [], ["matrix"], value=value))
        return w.op("FusedMatMul", x, "matrix", transB=1, **MICROSOFT)

    check(model_of(tmp_path, write))
