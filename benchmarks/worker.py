"""One backend in its own process: reads a count per line, runs that often, prints the times in milliseconds.

``python -m benchmarks.worker BACKEND MODEL THREADS INPUT.npy OUTPUT.npy``
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.timing import milliseconds

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

    from benchmarks.peers import torch_model

    torch.set_num_threads(threads)
    network, tensor = torch_model(Path(model)), torch.from_numpy(image)

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


BACKENDS: dict[str, Callable[[str, int, np.ndarray], Run]] = {
    "edgemtl": _edgemtl,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "openvino-bf16": lambda model, threads, image: _openvino(model, threads, image, "bf16"),
    "torch": _torch,
}


def _aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts on a 64-byte boundary, which every backend takes without copying."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


def main(backend: str, model: str, threads: str, source: str, target: str) -> None:
    """Serve runs until stdin closes; the first output goes to ``target``."""
    os.environ["OMP_NUM_THREADS"] = threads
    if threads == "1":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    run = BACKENDS[backend](model, int(threads), _aligned(np.load(source)))
    np.save(target, run())
    print("ready", flush=True)
    for line in sys.stdin:
        (times,) = milliseconds([run], rounds=1, runs=int(line), warm_runs=WARM_RUNS)
        print(" ".join(f"{t:.4f}" for t in times), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
