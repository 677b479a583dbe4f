"""Small files that ask for endless work or memory: read within limits, or refused; never run to find out."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemtl.errors import EdgemtlError
from edgemtl.frontend import read_model
from edgemtl.frontend.limits import folding_work, may_propagate, why_not_run
from tests.codegen.graphs import parse
from tests.support.run import assert_same, random_image, run_canonical, run_onnx

MEMORY = 512 << 20
ADD = helper.make_node("Add", ["image", "sum"], ["y"])
SUM = helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0)


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, [{"-": ""}.get(name, name) for name in inputs.split()], outputs.split(), **attributes)


def save(folder: Path, nodes: list[onnx.NodeProto], opset: int = 21, **constants: object) -> Path:
    shape = [1, 3, 8, 8]
    image, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "y"))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [image], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def loop(trips: str, value: str) -> onnx.NodeProto:
    """A Loop that hands ``value`` on."""
    kinds = {"i": TensorProto.INT64, "c": TensorProto.BOOL, "c_": TensorProto.BOOL}
    values = {
        n: helper.make_tensor_value_info(n, kinds.get(n, 1), [] if n in kinds else None) for n in "i c v c_ v_".split()
    }
    body = helper.make_graph(
        [node("Identity", "c", "c_"), node("Identity", "v", "v_")],
        "body",
        [values[n] for n in ("i", "c", "v")],
        [values[n] for n in ("c_", "v_")],
    )
    return node("Loop", f"{trips} go {value}", "sum", body=body)


ONE, GO = np.float32(1), np.array(True)
FILES: dict[str, Callable[[Path], Path]] = {
    "a loop of 2^62 trips": lambda f: save(f, [loop("n", "one"), ADD], one=ONE, go=GO, n=np.int64(2**62)),
    "a loop without a count": lambda f: save(f, [loop("-", "one"), ADD], one=ONE, go=GO),
    "such a loop in an old opset": lambda f: save(f, [loop("n", "one"), ADD], 13, one=ONE, go=GO, n=np.int64(2**62)),
    "a range of 2^31": lambda f: save(
        f,
        [node("Range", "a b c", "r"), node("Cast", "r", "big", to=1), SUM, ADD],
        a=np.int64(0), b=np.int64(2**31), c=np.int64(1),
    ),
    "a range whose end is computed": lambda f: save(
        f,
        [node("Mul", "b b", "end"), node("Range", "a end c", "r"), node("Cast", "r", "big", to=1), SUM, ADD],
        a=np.int64(0), b=np.int64(2**16), c=np.int64(1),
    ),
    "a range whose end is data, in an old opset": lambda f: save(
        f,
        [
            node("ReduceMax", "image", "most", keepdims=0), node("Abs", "most", "abs"), node("Mul", "abs b", "end"),
            node("Range", "a end c", "big"), node("ReduceSum", "big", "sum", keepdims=0), ADD,
        ],
        13,
        a=np.float32(0), b=np.float32(1e9), c=ONE,
    ),
    "indices joined with themselves 31 times": lambda f: save(
        f,
        [
            node("Shape", "image", "s0"),
            *(node("Concat", f"s{i} s{i}", f"s{i + 1}", axis=0) for i in range(31)),
            node("Cast", "s31", "big", to=1), SUM, ADD,
        ],
    ),
    "a constant of 2^30": lambda f: save(f, [node("ConstantOfShape", "s", "big"), SUM, ADD], s=np.array([2**15] * 2)),
    "a tile of tiles": lambda f: save(
        f, [node("Tile", "t r", "t1"), node("Tile", "t1 r", "t2"), node("Tile", "t2 r", "big"), SUM, ADD],
        t=np.ones((1, 1), np.float32), r=np.array([32, 32]),
    ),
    "forty constants of 2^25": lambda f: save(
        f,
        [
            *(node("ConstantOfShape", "s", f"b{i}") for i in range(40)),
            *(node("ReduceSum", f"b{i}", f"s{i}", keepdims=0) for i in range(40)),
            node("Sum", " ".join(f"s{i}" for i in range(40)), "sum"), ADD,
        ],
        s=np.array([2**13, 2**12]),
    ),
    "products of large matrices": lambda f: save(
        f,
        [node("MatMul", "a b", "c0"), *(node("MatMul", f"c{i} c{i}", f"c{i + 1}") for i in range(20)),
         node("Identity", "c20", "big"), SUM, ADD],
        a=np.ones((4096, 4), np.float32), b=np.ones((4, 4096), np.float32),
    ),
    "a sampled grid": lambda f: save(
        f, [node("GridSample", "x g", "big"), SUM, ADD],
        x=np.ones((1, 64, 8, 8), np.float32), g=np.zeros((1, 512, 512, 2), np.float32),
    ),
    "an enlarged constant": lambda f: save(
        f, [node("Resize", "x - s", "big"), SUM, ADD],
        x=np.ones((1, 1, 8, 8), np.float32), s=np.array([1, 1, 4096, 4096], np.float32),
    ),
}  # fmt: skip


def in_little_memory(path: Path) -> int:
    """How a child with so much memory more than this process ends: 0 read or refused, 1 out of memory or untyped."""
    child = os.fork()
    if not child:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        try:
            read_model(path)
            os._exit(0)
        except EdgemtlError as error:
            os._exit(1 if "MemoryError" in str(error) or "bad_alloc" in str(error) else 0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("name", FILES)
def test_reading_ends_and_takes_little(tmp_path, name):
    assert in_little_memory(FILES[name](tmp_path)) == 0


def test_what_is_small_is_folded_still(tmp_path):
    nodes = [node("Range", "a b c", "r"), node("Cast", "r", "f", to=1), node("Tile", "f t", "big"), SUM, ADD]
    path = save(tmp_path, nodes, a=np.int64(0), b=np.int64(100), c=np.int64(1), t=np.array([3]))
    model = read_model(path)
    assert [n.op_type for n in model.ir.graph] == ["Add"]
    image = random_image((1, 3, 8, 8))
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))


INPUTS = "float[4,6] a, float[6,5] b, float[100,100] c, float[1,2,4,4] i, float[5,2,2,2] w"


@pytest.mark.parametrize(
    ("shape", "text", "units"),
    [
        ("4,6", "y = Relu(a)", 24),
        ("4,5", "y = MatMul(a, b)", 4 * 5 + 4 * 5 * 6 // 128),
        ("4,5", 'y = Einsum<equation = "ij,jk->ik">(a, b)', 4 * 5 + 4 * 5 * 6 // 128),
        ("4,100", 'y = Einsum<equation = "ij,kl->ik">(a, c)', 4 * 100 + 4 * 6 * 100 * 100 // 128),
        ("1,2,3,3", "y = MaxPool<kernel_shape = [2, 2]>(i)", 2 * 3 * 3 * 512),
        ("1,5,3,3", "y = Conv(i, w)", 5 * 3 * 3 + 5 * 3 * 3 * (2 * 2 * 2) // 128),
    ],
)
def test_the_work_of_folding(shape, text, units):
    model = parse(f"t ({INPUTS}) => (float[{shape}] y) {{ {text} }}")
    assert folding_work(next(iter(model.graph))) == units


@pytest.mark.parametrize(
    ("kind", "text", "short"),
    [
        ("int64", "s = Shape(x) \n y = Concat<axis = 0>(s, s)", True),
        ("int64", "y = Concat<axis = 0>(i, i)", False),
        ("float", "y = Concat<axis = 0>(x, x)", True),
        ("int64", "y = Range(j, j, j)", False),
    ],
)
def test_values_that_shape_inference_may_follow(kind, text, short):
    model = parse(f"t (float[65536] x, int64[65536] i, int64 j) => ({kind}[n] y) {{ {text} }}")
    assert may_propagate(model.graph) == short


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("h = MatMul(x, w) \n y = MatMul(h, v)", None),
        (
            "h = Tile(x, r) \n y = ReduceSum<keepdims = 1>(h, a)",
            "a Tile in it makes 4194304 elements, 4194304 with those before it",
        ),
        ("h = Range(z, n, d) \n y = Add(x, h)", "the size of a Range in it depends on the data"),
        (
            "q = Cast<to = 7>(n) \n u = Unsqueeze(q, a) \n h = ConstantOfShape(u) \n y = Add(x, h)",
            "a ConstantOfShape in",
        ),
        ("i = NonZero(l) \n s = Shape(i) \n h = ConstantOfShape(s) \n y = ReduceSum(h, a)", None),
        (
            "i = NonZero(l) \n s = Shape(i) \n t = Mul(s, s) \n h = ConstantOfShape(t) \n y = ReduceSum(h, a)",
            "depends on",
        ),
    ],
)
def test_a_region_that_costs_more_than_a_mixture(text, reason):
    constants = {
        "w": np.ones((8, 32), np.float32), "v": np.ones((32, 8), np.float32), "r": np.array([256, 256]),
        "a": np.array([0]), "z": np.float32(0), "d": np.float32(1),
    }  # fmt: skip
    model = parse(f"t (float[8,8] x, float[8,4] l, float n) => (float[a,b] y) {{ {text} }}", **constants)
    x, logits, _ = model.graph.inputs
    said = why_not_run(list(model.graph), x.shape[-1], *logits.shape)
    assert said is None if reason is None else reason in str(said)


def test_a_loop_in_a_region_is_not_run(tmp_path):
    path = save(tmp_path, [loop("n", "one"), ADD], one=ONE, go=GO, n=np.int64(2))
    graph = ir.from_proto(onnx.load(path)).graph
    assert why_not_run(list(graph), 1, 1, 1) == "Loop in it may run without end"
