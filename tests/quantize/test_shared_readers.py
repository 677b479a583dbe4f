"""Values whose scale only some readers know, layers that tasks share and read in other ways, values that are 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemtl.driver import check_model, compile_model
from edgemtl.options import CheckOptions, CompileOptions
from edgemtl.runtime import Session

SHAPE = (1, 4, 8, 12)
NORM = """
    last = Transpose<perm = [0, 2, 3, 1]>(a)
    normal = LayerNormalization<axis = -1>(last, gamma, beta)
    t = Transpose<perm = [0, 3, 1, 2]>(normal)"""
GRAPHS = {
    "a LayerNorm that one task convolves and another multiplies": f"""
    a = Conv<pads = [1, 1, 1, 1]>(image, w)
    b = Conv<pads = [1, 1, 1, 1]>(image, v) {NORM}
    y = Conv(t, u)
    m = Mul(t, b)
    z = Conv(m, u)""",
    "a LayerNorm that is an output": f"""
    a = Conv<pads = [1, 1, 1, 1]>(image, w) {NORM}
    y = Conv(t, u)
    z = Relu(t)""",
    "a LayerNorm in front of groups": f"""
    a = Conv<pads = [1, 1, 1, 1]>(image, w) {NORM}
    y = Conv<group = 4>(t, each)""",
    "pools of small and of large values": """
    a = Conv<pads = [1, 1, 1, 1]>(image, small)
    p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)
    y = Conv(p, u)
    b = Conv<pads = [1, 1, 1, 1]>(image, v, hundred)
    q = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(b)
    z = Conv(q, u)""",
    "a value that is always 0": """
    a = Conv<pads = [1, 1, 1, 1]>(image, w)
    b = Sub(a, far)
    c = Relu(b)
    y = Add(a, c)""",
    "a resize of the image": """
    y = Resize<mode = "linear">(image, , twice)""",
    "a clip far out": """
    a = Conv<pads = [1, 1, 1, 1]>(image, v, hundred)
    b = Neg(a)
    c = Clip(b, zero, ten)
    y = Conv(c, u)""",
}


def random(*shape: int, seed: int, scale: float = 0.3) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


WEIGHTS = {
    "w": random(4, 4, 3, 3, seed=1),
    "v": random(4, 4, 3, 3, seed=2),
    "u": random(3, 4, 1, 1, seed=3),
    "each": random(4, 1, 1, 1, seed=4),
    "small": random(4, 4, 3, 3, seed=5, scale=0.003),
    "hundred": np.full(4, -100, np.float32),
    "gamma": np.array([0.2, 1.0, 3.0, 0.7], np.float32),
    "beta": random(4, seed=6),
    "far": np.array(1000, np.float32),
    "zero": np.array(0, np.float32),
    "ten": np.array(10, np.float32),
    "twice": np.array([1, 1, 2, 2], np.float32),
}


def written(text: str, path: Path) -> list[str]:
    """The graph as a file, with an output for each of y and z; their names."""
    outputs = [name for name in "yz" if f"    {name} =" in text]
    graph = onnx.parser.parse_graph(f"g (float[1,4,8,12] image) => () {{ {text} }}")
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(array, n) for n, array in WEIGHTS.items() if n in used)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return outputs


@pytest.mark.parametrize("name", GRAPHS)
def test_every_task_is_near_onnxruntime(name: str, tmp_path: Path) -> None:
    outputs = written(GRAPHS[name], tmp_path / "m.onnx")
    (tmp_path / "images").mkdir()
    images = [random(*SHAPE, seed=seed, scale=1.0) for seed in range(20, 30)]
    for index, image in enumerate(images):
        np.save(tmp_path / "images" / f"{index}.npy", image)
    integer = {"precision": "int8", "calibration": tmp_path / "images"}
    reports = check_model(tmp_path / "m.onnx", CheckOptions(**integer)).nodes
    assert not [report for report in reports if report.how == "unsupported"]
    compile_model(tmp_path / "m.onnx", CompileOptions(**integer), tmp_path / "m.edgemtl")
    oracle = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    with Session.open(tmp_path / "m.edgemtl") as session:
        for task, output in zip(session.tasks, outputs, strict=True):
            for image in images:
                (expected,) = oracle.run([output], {"image": image})
                actual = np.asarray(session.run(task, image)).reshape(expected.shape)
                assert 10 * np.log10((expected**2).sum() / ((actual - expected) ** 2).sum() + 1e-30) > 20
