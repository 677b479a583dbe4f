"""What an integer form must keep: nothing in float, near onnxruntime, compiled to the law's bits, and a QDQ file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime

from edgemtl.codegen.cpu import compile_cpu
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Step
from edgemtl.operators import Frame
from edgemtl.options import QuantiseOptions
from edgemtl.partition import TaskModel
from edgemtl.processor import resolve
from edgemtl.quantize import IntegerTask, calibrate
from edgemtl.quantize.qdq import Origin, make_qdq, measure_distances
from edgemtl.quantize.quality import signal_to_noise
from edgemtl.quantize.quantised_model import float_steps
from tests.codegen.graphs import random
from tests.codegen.harness import Machine
from tests.codegen.test_generic import task_of
from tests.support.frames import frames

LEAST_DB = 25.0


@dataclass(frozen=True)
class Form:
    """A graph in float steps and in integers, and images that neither was calibrated on."""

    task: TaskModel
    floats: dict[str, tuple[Step, ...]]
    integers: IntegerTask
    fresh: list[Frame]

    @property
    def kinds(self) -> list[str]:
        """Classes of the integer steps."""
        return [type(step.operator).__name__ for step in self.integers.steps]

    def float_noise(self) -> float:
        """The same of the float steps."""
        session = onnxruntime.InferenceSession(ir.to_proto(self.task.ir).SerializeToString())
        real = [session.run(None, image)[0].reshape(-1) for image in self.fresh]
        (steps,) = self.floats.values()
        return signal_to_noise(real, [run_steps(steps, image) for image in self.fresh])

    def noise(self) -> float:
        """The signal-to-noise ratio of the law against onnxruntime's float32, in decibel."""
        session = onnxruntime.InferenceSession(ir.to_proto(self.task.ir).SerializeToString())
        real = [session.run(None, image)[0].reshape(-1) for image in self.fresh]
        return signal_to_noise(real, [run_steps(self.integers.steps, image) for image in self.fresh])


def quantised(text: str, require_int8: bool = True, **constants: np.ndarray) -> Form:
    """A graph with the output y, calibrated on drawn images."""
    task = task_of(text, **constants)
    floats = float_steps([task], resolve("cpu-avx2"))
    images = frames([random(*task.inputs[0].shape, seed=index) for index in range(14)])
    options = QuantiseOptions(require_int8=require_int8, least_sqnr_db=10.0)
    _, integers = calibrate("0" * 64, "exact", floats, images[:12], options)
    return Form(task, floats, integers["t"], images[12:])


def judge(form: Form, least_db: float = LEAST_DB) -> None:
    """All in integers, near onnxruntime, and the same bits compiled."""
    assert form.integers.all_integer, form.kinds
    assert form.float_noise() > 80
    assert form.noise() > least_db
    program = compile_cpu((form.task,), resolve("cpu"), memory_budget=None, integers={"t": form.integers})
    machine = Machine(program)
    for image in form.fresh[:1]:
        expected = run_steps(form.integers.steps, image)
        np.testing.assert_array_equal(machine.run("t", image["image"]).reshape(-1), expected)


def exchanged_db(form: Form) -> float:
    """The signal-to-noise ratio of the QDQ file, run by onnxruntime, against the law, in decibel."""
    origin = Origin("net.onnx", "0" * 64, "exact", "minmax", 12)
    model = make_qdq((form.task,), form.floats, {"t": form.integers}, origin)
    (distance,) = measure_distances(model, {"t": "y"}, form.floats, {"t": form.integers}, form.fresh)
    return distance.qdq_to_law_db
