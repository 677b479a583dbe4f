"""What the frontend hands on: one ONNX graph, its inputs, its tasks and its mixture-of-experts layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    import onnx_ir as ir

from edgemtl.records import check, one_of
from edgemtl.vocabulary import DEFAULT_FILTER, KINDS

ORIGIN = "edgemtl.origin"
"""Node metadata: path of the torch module the node came from."""

METADATA = "edgemtl"
"""Model metadata written by the exporter: JSON that describes tasks, input and routing."""


@dataclass(frozen=True)
class InputSpec:
    """One input of the graph.

    shape: of any rank, () for a scalar.  mean, std: of an image float32 (1, C, H, W), per channel, the input is
    (pixel / 255 - mean) / std; None where the model does not say.  resize_filter: one of
    `vocabulary.RESIZE_FILTERS`, by which pictures become H x W.  dtype: one of `vocabulary.INPUT_DTYPES`.  bounds: of
    integers that look something up, the least and the largest that are there.
    """

    name: str
    shape: tuple[int, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    resize_filter: str = DEFAULT_FILTER
    dtype: str = "float32"
    bounds: tuple[int, int] | None = None

    @property
    def is_image(self) -> bool:
        """Whether pictures can become this input by normalisation."""
        return self.dtype == "float32" and len(self.shape) == 4

    @property
    def is_camera(self) -> bool:
        """Whether it takes the bytes of pictures, uint8 (1, H, W, C), which the program normalises by mean and std."""
        return self.dtype == "uint8" and self.mean is not None


@dataclass(frozen=True)
class Task:
    """One task: its name, the graph output that answers it, what that means, its channels.

    kind: one of `vocabulary.KINDS`. classes: the name of each class, none where the model records none.
    """

    name: Annotated[str, check("a name", lambda value: type(value) is str and value != "")]
    output: str
    kind: Annotated[str, one_of(*KINDS)]
    channels: int
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MoELayer:
    """One MoE node: its name, experts in all, experts per token, token width and hidden width."""

    node: str
    experts: int
    top_k: int
    dim: int
    hidden: int


@dataclass(frozen=True)
class MultiTaskModel:
    """A model ready to be partitioned.

    ir: standard ONNX operators and `edgemtl::MoE` only, every shape static and inferred, constants are
    initializers, no dead code, one output per task; its functions are the MoE bodies, so that
    `onnx_ir.to_proto(ir)` runs in any ONNX runtime.  notes: every default and assumption taken.
    sha256: of the file as it was read, external data included; weight_files: where that lay.
    """

    ir: ir.Model
    inputs: tuple[InputSpec, ...]
    tasks: tuple[Task, ...]
    moe: tuple[MoELayer, ...]
    notes: tuple[str, ...]
    sha256: str
    weight_files: tuple[Path, ...] = ()
