"""How far a QDQ model in onnxruntime is from the law and from the float model: measured on images, per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import Step
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Frame
from edgemtl.quantize.build import IntegerTask
from edgemtl.quantize.quality import signal_to_noise


@dataclass(frozen=True)
class Distance:
    """Signal to noise in dB of one task's output, pair by pair: the law, the QDQ model and the float model."""

    task: str
    law_to_float_db: float
    qdq_to_float_db: float
    qdq_to_law_db: float


def measure_distances(
    model: onnx.ModelProto,
    outputs: Mapping[str, str],
    floats: Mapping[str, Sequence[Step]],
    integers: Mapping[str, IntegerTask],
    images: Sequence[Frame],
) -> tuple[Distance, ...]:
    """Run all three on the images; ``outputs`` names the model's output of each task."""
    session = open_session(model.SerializeToString(), optimise=True)  # as users run it
    names = [value.name for value in session.get_inputs()]
    runs = [session.run(list(outputs.values()), {name: image[name] for name in names}) for image in images]
    distances = []
    for position, task in enumerate(outputs):
        exact = [run_steps(floats[task], image) for image in images]
        law = [run_steps(integers[task].steps, image) for image in images]
        qdq = [np.asarray(run[position]).reshape(-1) for run in runs]
        distances.append(
            Distance(task, signal_to_noise(exact, law), signal_to_noise(exact, qdq), signal_to_noise(law, qdq))
        )
    return tuple(distances)
