"""The head of M3ViT tiny against onnxruntime, taking turns: ``python -m benchmarks.head [--threads N]``.

Normalised tokens [128, 192] through four 3x3 convolutions with ReLU, bilinear enlargement between them, a 1x1
convolution and a last enlargement, to logits [1, 19, 128, 256]. One thread is measured by its own clock, so
that other work on the machine disturbs little; more are measured by the wall clock.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import tvm_ffi
from onnx import helper, numpy_helper

from benchmarks.here import target_to_measure
from benchmarks.timing import milliseconds
from edgemtl.operators import LayerNorm, Resize, Winograd, WinogradWeights
from edgemtl.processor import CpuTarget
from edgemtl.runtime.threads import configure_pool
from edgemtl.tvm_bridge.build import Argument, EntryFunction, KernelCall, build_library
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import layernorm, resize, winograd, winograd_weights
from edgemtl.tvm_bridge.kernels.tiles import padded_width

HEIGHT, WIDTH, DIM, CHANNELS, CLASSES, LAYERS = 8, 16, 192, 256, 19, 4
EPSILON = 1e-6
WARM_RUNS = 3
Weights = Mapping[str, np.ndarray]
Run = Callable[[], np.ndarray]


def weights() -> Weights:
    """Random weights that keep the scale of what passes."""
    random = np.random.default_rng(0)
    shapes = {"scale": (DIM,), "shift": (DIM,), "last_w": (CLASSES, CHANNELS, 1, 1), "last_b": (CLASSES,)}
    for layer in range(LAYERS):
        shapes[f"w{layer}"] = (CHANNELS, CHANNELS if layer else DIM, 3, 3)
        shapes[f"b{layer}"] = (CHANNELS,)
    deviations = {name: (2 / np.prod(shape[1:])) ** 0.5 if len(shape) == 4 else 0.2 for name, shape in shapes.items()}
    arrays = {name: random.normal(0, deviations[name], shape).astype(np.float32) for name, shape in shapes.items()}
    return arrays | {"scale": arrays["scale"] + 1}


def model(weights: Weights) -> bytes:
    """The head as ONNX."""
    nodes, constants = [], dict(weights)

    def add(kind: str, inputs: Sequence[str], output: str, **attributes: str | float | list[int]) -> str:
        node = helper.make_node(kind, list(inputs), [output])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        nodes.append(node)
        return output

    constants |= {"shape": np.array([1, DIM, HEIGHT, WIDTH]), "twice": np.array([1, 1, 2, 2], np.float32)}
    bilinear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    x = add("LayerNormalization", ("x", "scale", "shift"), "normal", epsilon=EPSILON)
    x = add("Reshape", (add("Transpose", (x,), "planes", perm=[0, 2, 1]), "shape"), "image")
    for i in range(LAYERS):
        x = add("Resize", (x, "", "twice"), f"larger{i}", **bilinear) if i else x
        x = add("Relu", (add("Conv", (x, f"w{i}", f"b{i}"), f"conv{i}", pads=[1] * 4),), f"relu{i}")
    add("Resize", (add("Conv", (x, "last_w", "last_b"), "last"), "", "twice"), "y", **bilinear)
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", (1, 128, DIM)), ("y", None))]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "head", ends[:1], ends[1:], tensors)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def peer(weights: Weights, tokens: np.ndarray, threads: int) -> Run:
    """The same by onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model(weights), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": tokens[None]})[0]


def reference(weights: Weights, tokens: np.ndarray) -> np.ndarray:
    """The same in double precision."""
    functions, double = (
        torch.nn.functional,
        {k: torch.from_numpy(v.astype(np.float64)) for k, v in weights.items()},
    )
    x = functions.layer_norm(
        torch.from_numpy(tokens.astype(np.float64)), (DIM,), double["scale"], double["shift"], EPSILON
    )
    x = x.T.reshape(1, DIM, HEIGHT, WIDTH)
    for i in range(LAYERS):
        x = functions.interpolate(x, scale_factor=2, mode="bilinear") if i else x
        x = functions.conv2d(x, double[f"w{i}"], double[f"b{i}"], padding=1).relu()
    x = functions.conv2d(x, double["last_w"], double["last_b"])
    return functions.interpolate(x, scale_factor=2, mode="bilinear").numpy()


class Chain:
    """The head's kernels in one array, each operand at its own place."""

    def __init__(self, weights: Weights, tokens: np.ndarray, target: CpuTarget) -> None:
        self.target, self.size = target, 0
        self.filled: dict[int, np.ndarray] = {}
        self.prepare: list[KernelCall] = []
        self.steps: list[KernelCall] = []
        at = self._norm(weights, self._constant(tokens))
        for layer in range(LAYERS):
            at = self._convolution(weights, layer, at)
        self.output = self._resize(at)

    def _place(self, size: int) -> int:
        place, self.size = self.size, self.size + -(-size // 64) * 64
        return place

    def _constant(self, array: np.ndarray) -> int:
        place = self._place(array.nbytes)
        self.filled[place] = np.ascontiguousarray(array)
        return place

    def _step(
        self, calls: list[KernelCall], kernel: Kernel, inputs: Sequence[int], constants: Sequence[np.ndarray]
    ) -> int:
        """Append a call; return where its output lies."""
        places, arrays = iter(inputs), iter(constants)
        chosen = [
            self._constant(next(arrays))
            if o.role == "weight"
            else next(places)
            if o.role == "input"
            else self._place(o.bytes)
            for o in kernel.operands
        ]
        calls.append(KernelCall(kernel, tuple(Argument("arena", place) for place in chosen)))
        return chosen[-1]

    def _norm(self, weights: Weights, tokens: int) -> int:
        spec = LayerNorm(HEIGHT * WIDTH, DIM, EPSILON)
        packed = layernorm.pack(spec, self.target, weights["scale"], weights["shift"])
        return self._step(self.steps, layernorm.build(spec, self.target), (tokens,), packed)

    def _convolution(self, weights: Weights, layer: int, image: int) -> int:
        width, factor, last = CHANNELS if layer else DIM, 2**layer, layer == LAYERS - 1
        form = WinogradWeights(width, CHANNELS, layer > 0, padded_width(CHANNELS, self.target))
        raw = winograd_weights.pack(form, self.target, weights[f"w{layer}"])
        transformed = self._step(self.prepare, winograd_weights.build(form, self.target), (), raw)
        sizes = HEIGHT * factor, WIDTH * factor, width, CHANNELS
        spec = Winograd(*sizes, layer > 0, "relu", form.columns, CLASSES if last else 0)
        behind = (weights["last_w"].reshape(CLASSES, CHANNELS).T, weights["last_b"]) if last else ()
        packed = winograd.pack(spec, self.target, weights[f"b{layer}"], *behind)
        return self._step(self.steps, winograd.build(spec, self.target), (image, transformed), packed)

    def _resize(self, image: int) -> int:
        height, width = HEIGHT * 2 ** (LAYERS - 1), WIDTH * 2 ** (LAYERS - 1)
        spec = Resize(height, width, CLASSES, 2 * height, 2 * width)
        return self._step(self.steps, resize.build(spec, self.target), (image,), resize.pack(spec, self.target))

    def load(self, folder: Path) -> tuple[Run, Callable[[int], None], Callable[[], None]]:
        """Functions that run all steps, one step, and the preparation of the weights."""
        path, space = folder / "head.so", {"arena": self.size}
        entries = [EntryFunction("prepare", tuple(self.prepare), space), EntryFunction("run", tuple(self.steps), space)]
        path.write_bytes(build_library(entries, self.target))
        library = tvm_ffi.load_module(str(path))
        raw = np.zeros(self.size + 64, np.uint8)
        memory = raw[-raw.ctypes.data % 64 :][: self.size]
        for place, array in self.filled.items():
            memory[place : place + array.nbytes] = array.reshape(-1).view(np.uint8)
        spaces = [tvm_ffi.from_dlpack(s) for s in (memory, *(np.zeros(1, np.uint8) for _ in range(4)))]
        logits = memory[self.output :][: CLASSES * HEIGHT * WIDTH * 4 ** (LAYERS + 1)].view(np.float32)

        def run() -> np.ndarray:
            library["run"](*spaces, 0, len(self.steps))
            return logits.reshape(1, CLASSES, HEIGHT * 2**LAYERS, WIDTH * 2**LAYERS)

        return (
            run,
            lambda i: library["run"](*spaces, i, i + 1),
            lambda: library["prepare"](*spaces, 0, LAYERS),
        )


def main() -> None:
    """Print one line per runner and per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    configure_pool(options.threads)
    clock = time.thread_time_ns if options.threads == 1 else time.perf_counter_ns
    arrays, tokens = (
        weights(),
        np.random.default_rng(1).standard_normal((HEIGHT * WIDTH, DIM)).astype(np.float32),
    )
    chain = Chain(arrays, tokens, target_to_measure(options.target, options.threads))
    with tempfile.TemporaryDirectory() as folder:
        run, step, prepare = chain.load(Path(folder))
    other, exact = peer(arrays, tokens, options.threads), reference(arrays, tokens)
    steps = [lambda i=i: step(i) for i in range(len(chain.steps))]
    names = ["edgemtl", "onnxruntime", "preparation", *(call.kernel.symbol for call in chain.steps)]
    functions = [run, other, prepare, *steps]
    milliseconds(functions, WARM_RUNS)
    times = milliseconds(functions, options.rounds, clock=clock)
    for name, column in zip(names, times, strict=True):
        print(f"{name:45} least {min(column):8.3f} ms  median {statistics.median(column):8.3f} ms")
    for name, result in (("edgemtl", run()), ("onnxruntime", other())):
        print(f"{name:45} largest error {np.abs(result - exact).max():.1e} of {np.abs(exact).max():.2f}")


if __name__ == "__main__":
    main()
