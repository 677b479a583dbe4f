"""Every operator of ours against ONNX Runtime and OpenVINO, in one process, in turns.

``python -m benchmarks.operators [--operators conv depthwise ...] [--target cpu-avx2] [--precision int8] [--threads 2]``
``python -m benchmarks.operators --ours`` compares our precisions: `edgemtl/quantize/speed.py` has its result.

Only the operator is timed: of ours its steps, of the peers the time that they report for its nodes; copies between
layouts, and conversions between floats and bytes, count nowhere. INT8 of the peers is the QDQ model that onnxruntime's
own quantiser makes. OpenVINO is limited to the target's instructions by ONEDNN_MAX_CPU_ISA. ONNX Runtime cannot be
limited: where the target is not this machine's best, its time is shown and does not count.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from benchmarks.here import limit_peers, target_to_measure
from benchmarks.int8_peers import quantised
from benchmarks.operator_cases import OperatorCase, cases
from edgemtl.processor import CpuTarget, resolve

BAR = 1.3
"""How many times the best peer's time is a miss."""
IMAGES = 8
AROUND = ("QuantizeLinear", "DequantizeLinear", "ReorderInput", "ReorderOutput", "Reorder", "Convert", "FakeQuantize")
"""Kinds of nodes that peers put around an operator."""
LAYOUT = ("Copy", "QCopy", "Quantise", "Dequantise", "QuantiseImage", "DequantiseImage", "Convert")
"""The same of ours."""
Turn = Callable[[], float]
"""Runs once; the seconds that the operator took."""


class Running(Protocol):
    """A peer with a model loaded."""

    def run(self) -> None: ...
    def seconds(self) -> list[float]: ...


Peer = Callable[[Path, np.ndarray, int], Running]


@dataclass(frozen=True)
class Line:
    """One line of the table; medians in microseconds, ours first; ``rivals`` are the peers that count."""

    name: str
    precision: str
    medians: Mapping[str, float]
    rivals: Sequence[str]

    @property
    def ratio(self) -> float:
        """Our median over the best peer's; 0 where every peer made the operator a part of another."""
        times = [self.medians[peer] for peer in self.rivals if self.medians[peer]]
        return self.medians["edgemtl"] / min(times) if times else 0.0


def is_operator(name: str) -> bool:
    """Whether a node, or one fused from several, belongs to the operator that is measured."""
    return "op_" in name


def ours(path: Path, images: Sequence[np.ndarray], precision: str, target: CpuTarget) -> Turn:
    """Our steps of the operator, run one by one."""
    from edgemtl import frontend
    from edgemtl.codegen import cpu
    from edgemtl.compare.compiled import CompiledMachine
    from edgemtl.options import QuantiseOptions
    from edgemtl.partition import partition
    from edgemtl.quantize.quantised_model import quantise

    read = frontend.read_model(path)
    tasks = partition(read, [task.name for task in read.tasks], "exact")
    integers = None
    if precision == "int8":
        named = {str(index): {"x": image} for index, image in enumerate(images)}
        options = QuantiseOptions(least_sqnr_db=-99, correct=False)
        integers = quantise(read, tasks, target, named, options).integers
    program = cpu.compile_cpu(tasks, target, memory_budget=None, integers=integers)
    machine = CompiledMachine(program)
    machine.load({"x": images[0]})
    steps = program.tasks[0].steps
    measured = [
        index
        for index, step in enumerate(steps)
        if any(map(is_operator, step.origin)) and type(step.operator).__name__ not in LAYOUT
    ]

    def turn() -> float:
        seconds = 0.0
        for index in range(len(steps)):
            begin = time.perf_counter()
            machine.run(index)
            seconds += (time.perf_counter() - begin) * (index in measured)
        return seconds

    return turn


def is_around(name: str, kind: str) -> bool:
    """Whether a peer's node is not part of the operator: the model around it, or a conversion at its border."""
    inserted = kind in AROUND or (kind == "Transpose" and not is_operator(name))
    return inserted or "pre_" in name or name.startswith(("y", "end"))


class OnnxRuntime:
    """A model in ONNX Runtime, whose profiler writes the times of all runs at the end."""

    def __init__(self, path: Path, image: np.ndarray, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_profiling, options.profile_file_prefix = True, str(path.with_suffix(""))
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._image = image

    def run(self) -> None:
        """Run once."""
        self._session.run(None, {"x": self._image})

    def seconds(self) -> list[float]:
        """The operator's time in every run."""
        total, by_run = 0.0, []
        for event in json.loads(Path(self._session.end_profiling()).read_text()):
            if event["name"] == "model_run":
                by_run.append(total)
                total = 0.0
            elif event["cat"] == "Node" and not is_around(event["name"], event["args"]["op_name"]):
                total += 1e-6 * event["dur"]
        return by_run


class OpenVino:
    """A model in OpenVINO, whose counters are read behind every run."""

    def __init__(self, path: Path, image: np.ndarray, threads: int) -> None:
        import openvino

        settings = {
            "PERF_COUNT": True,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
        self._image, self._seconds = image, list[float]()

    def run(self) -> None:
        """Run once."""
        self._request.infer({"x": self._image})
        counted = (node for node in self._request.profiling_info if not is_around(node.node_name, node.node_type))
        self._seconds.append(sum(node.real_time.total_seconds() for node in counted))

    def seconds(self) -> list[float]:
        """The operator's time in every run."""
        return self._seconds


def measure(
    case: OperatorCase, precision: str, target: CpuTarget, rounds: int, peers: Mapping[str, Peer], rivals: Sequence[str]
) -> Line:
    """Every backend in turns, a run each."""
    images = images_of(case)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(case.model, path)
        turn = ours(path, images, precision, target)
        peer_path = quantised(path, images, "x") if precision == "int8" else path
        others = {name: peer(peer_path, images[0], target.threads) for name, peer in peers.items()}
        own = []
        for _ in range(rounds):
            own.append(turn())
            for other in others.values():
                other.run()
        times = {"edgemtl": own} | {name: other.seconds() for name, other in others.items()}
    return Line(case.name, precision, {name: _median(values) for name, values in times.items()}, rivals)


def images_of(case: OperatorCase) -> list[np.ndarray]:
    """Random inputs."""
    shape = [size.dim_value for size in case.model.graph.input[0].type.tensor_type.shape.dim]
    random = np.random.default_rng(0)
    return [random.standard_normal(shape, np.float32) for _ in range(IMAGES)]


def compare_precisions(case: OperatorCase, target: CpuTarget, rounds: int) -> str:
    """A line of our int8 against our fp32, in turns."""
    images = images_of(case)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(case.model, path)
        turns = [ours(path, images, precision, target) for precision in ("fp32", "int8")]
        times = [[turn() for turn in turns] for _ in range(rounds)]
    real, integer = (_median(values) for values in zip(*times, strict=True))
    slower = "SLOWER" if integer > real else ""
    return f"| {case.name} | {real:.0f} | {integer:.0f} | {real / integer:.2f} | {slower} |"


def _median(seconds: Sequence[float]) -> float:
    """In microseconds; the first runs, which find cold caches, do not count."""
    return 1e6 * float(np.median(seconds[len(seconds) // 5 :]))


def show(lines: Sequence[Line]) -> Iterator[str]:
    """The table in markdown; a miss is marked."""
    peers = list(lines[0].medians)
    yield "| operator | precision | " + " | ".join(f"{peer}, us" for peer in peers) + " | edgemtl / best peer | |"
    yield "|---" * (len(peers) + 4) + "|"
    for line in lines:
        cells = " | ".join(f"{line.medians[peer]:.0f}" for peer in peers)
        yield f"| {line.name} | {line.precision} | {cells} | {line.ratio:.2f} | {'MISS' if line.ratio > BAR else ''} |"


def main() -> None:
    """Measure the chosen operators and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operators", nargs="*", help="families or parts of names; default: all")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--precision", nargs="*", default=["fp32", "int8"])
    parser.add_argument("--ours", action="store_true", help="our int8 against our fp32, without peers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    target = resolve(options.target, options.threads)
    unlimited = limit_peers(target)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from edgemtl.runtime.threads import configure_pool

    configure_pool(options.threads)
    target_to_measure(options.target, options.threads)
    peers = {name: peer for name, peer in PEERS.items() if importlib.util.find_spec(name)}
    logging.disable(logging.WARNING)
    rivals = tuple(name for name in peers if name not in unlimited)
    chosen = [
        case
        for case in cases()
        if not options.operators or any(word == case.family or word in case.name for word in options.operators)
    ]
    if options.ours:
        print("| operator | fp32, us | int8, us | fp32 / int8 | |\n|---|---|---|---|---|")
        for case in chosen:
            print(compare_precisions(case, target, options.rounds), flush=True)
        return
    lines = []
    for case in chosen:
        for precision in options.precision:
            lines.append(measure(case, precision, target, options.rounds, peers, rivals))
            print(*([*show(lines)] if len(lines) == 1 else [*show(lines[-1:])][-1:]), sep="\n", flush=True)
    missed = [line for line in lines if line.ratio > BAR]
    print(f"{len(missed)} of {len(lines)} take more than {BAR} times the best peer's time")


PEERS: Mapping[str, Peer] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}

if __name__ == "__main__":
    main()
