"""What the partition hands on: one graph per task, and what is left of each mixture of experts in it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir import Value

from edgemtl.bundle import MoEEntry
from edgemtl.frontend import InputSpec, Task
from edgemtl.operators import Array, Frame
from edgemtl.vocabulary import Pathway


@dataclass(frozen=True)
class Calibration:
    """What the calibration images showed for one task.

    images: their number.  picks: per MoE layer, the tokens that picked each expert of the whole layer.
    max_abs, mean_abs: difference between the exact and the calibrated output over these images; no expert
    they picked is gone, so anything but 0 is the runtime's rounding.  unseen_share: what to expect of other
    images: the share of one image's picks that go to experts none of the other images picked, averaged over
    leaving out each image in turn; None with a single image.
    """

    images: int
    picks: tuple[tuple[int, ...], ...]
    max_abs: float
    mean_abs: float
    unseen_share: float | None


@dataclass(frozen=True)
class TaskModel:
    """One task's pathway and nothing else.

    inputs: those of the model; the graph has only the ones that the task reads.
    ir: one output, standard operators and `edgemtl::MoE` without `window`; BatchNorm is folded
    into convolutions; where experts were dropped the node lists the rest in `experts`, counted in the columns
    of its logits. Its functions are the MoE bodies, so that `onnx_ir.to_proto(ir)` runs in any ONNX runtime.
    Tensors of equal content are one object across the tasks partitioned together.
    notes: what was left out or changed, and why.  calibration: where the pathway is "calibrated".
    """

    task: Task
    ir: ir.Model
    inputs: tuple[InputSpec, ...]
    pathway: Pathway
    moe: tuple[MoEEntry, ...]
    notes: tuple[str, ...] = ()
    calibration: Calibration | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the inputs that the task reads, in the order of the model."""
        return tuple(str(value.name) for value in self.ir.graph.inputs)

    def feed(self, frame: Frame) -> dict[str, Array]:
        """What of a frame the task reads."""
        return {name: frame[name] for name in self.reads}

    @property
    def output(self) -> Value:
        """The graph's output."""
        (value,) = self.ir.graph.outputs
        return value
