"""One backend in its own process: reads a count per line, runs that often, prints the times in milliseconds.

``python -m benchmarks.worker BACKEND MODEL THREADS INPUT.npy OUTPUT.npy CLOCK``; CLOCK is a name of `CLOCKS`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np

from benchmarks.timing import CLOCKS, milliseconds

Run = Callable[[], np.ndarray]
WARM_RUNS = 3


def _onnxruntime(model: str, threads: int, image: np.ndarray) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: image})[0]


def _openvino(model: str, threads: int, image: np.ndarray, precision: str = "f32") -> Run:
    import openvino as ov

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
    }
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(image))

    def run() -> np.ndarray:
        request.infer()
        return np.asarray(request.get_output_tensor(0).data)

    return run


def _torch(model: str, threads: int, image: np.ndarray) -> Run:
    import torch

    from benchmarks.torch_network import read_network

    torch.set_num_threads(threads)
    (_, network), tensor = read_network(Path(model)), torch.from_numpy(image)

    def run() -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(tensor))

    return run


def _edgemtl(model: str, threads: int, image: np.ndarray) -> Run:
    from edgemtl.runtime import Session

    session = Session.open(model, threads=threads)
    task = session.tasks[0]
    out = session.run(task, image)
    return lambda: session.run(task, image, out=out)


def _mnn(model: str, threads: int, image: np.ndarray) -> Run:
    from MNN import expr, nn

    # "high" is float32; the input and output names are all there are.
    settings = {"backend": "CPU", "numThread": threads, "precision": "high"}
    manager = nn.create_runtime_manager((settings,))
    network = nn.load_module_from_file(model, [], [], runtime_manager=manager)
    tensor = expr.const(image, list(image.shape), expr.NCHW)
    return lambda: np.asarray(network.forward([tensor])[0].read())


def _ncnn(model: str, threads: int, image: np.ndarray) -> Run:
    import ncnn

    network = ncnn.Net()
    network.opt.num_threads = threads
    if network.load_param(model) or network.load_model(model.removesuffix("param") + "bin"):
        raise RuntimeError(f"{model} must be a model of ncnn")
    tensor = ncnn.Mat(image[0]).clone()

    def run() -> np.ndarray:
        with network.create_extractor() as extractor:
            extractor.input("in0", tensor)
            return np.array(extractor.extract("out0")[1])

    return run


def _executorch(model: str, threads: int, image: np.ndarray) -> Run:
    import torch
    from executorch.extension.pybindings import portable_lib

    # The pool counts all cores without it.
    portable_lib._unsafe_reset_threadpool(threads)
    program = portable_lib._load_for_executorch(model)
    inputs = (torch.from_numpy(image),)
    return lambda: np.asarray(program.forward(inputs)[0])


BACKENDS: dict[str, Callable[[str, int, np.ndarray], Run]] = {
    "edgemtl": _edgemtl,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "openvino-bf16": lambda model, threads, image: _openvino(model, threads, image, "bf16"),
    "torch": _torch,
    "mnn": _mnn,
    "ncnn": _ncnn,
    "executorch": _executorch,
}


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts on a 64-byte boundary, which every backend takes without copying."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


def _take_output() -> TextIO:
    """Standard output for answers alone: what libraries print there goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def main(backend: str, model: str, threads: str, source: str, target: str, clock: str) -> None:
    """Serve runs until stdin closes; the first output goes to ``target``."""
    answers = _take_output()
    os.environ["OMP_NUM_THREADS"] = threads
    if threads == "1":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    run = BACKENDS[backend](model, int(threads), _aligned(np.load(source)))
    np.save(target, run())
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        (times,) = milliseconds([run], rounds=1, runs=int(line), warm_runs=WARM_RUNS, clock=CLOCKS[clock])
        print(" ".join(f"{t:.4f}" for t in times), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
