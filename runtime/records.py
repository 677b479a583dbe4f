"""What a session tells about itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgemtl.bundle import Segment


@dataclass(frozen=True)
class TaskInfo:
    """One task: what its output means, its channels, shape and dtype of its output for one frame, the inputs that it
    reads, its pathway, its steps.

    classes: the name of each class, none where the model records none.
    """

    name: str
    kind: str
    channels: int
    output_shape: tuple[int, ...]
    output_dtype: str
    inputs: tuple[str, ...]
    pathway: str
    steps: int
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Memory:
    """Bytes a session holds.

    arena_bytes: working memory, shared by all tasks.  prepared_bytes: weights in the form kernels read, made
    at open; a memory budget bounds the sum of these two.  staging_bytes: aligned copies of the input and the
    outputs.  weights_bytes: mapped from the file, shared with every process that maps it.
    peak_resident_bytes: most the whole process has had in memory, measured.
    """

    arena_bytes: int
    prepared_bytes: int
    staging_bytes: int
    weights_bytes: int
    peak_resident_bytes: int


@dataclass(frozen=True)
class SelftestResult:
    """A golden input, run: largest distance from the golden output, the one allowed, values compared.

    case: "plain" or "skewed". scale: the largest finite value of the golden output. max_abs_error is infinite where
    one output is finite or a number and the other is not.
    """

    task: str
    case: str
    passed: bool
    max_abs_error: float
    tolerance: float
    scale: float
    elements: int


@dataclass(frozen=True)
class StepTime:
    """One step of a task: its number, its kernel, the nodes it stands for, and the time it took by the clock here.

    basis: "measured" on the device that runs; "simulator" where it is how long this machine simulated, which says
    nothing about the board.
    """

    step: int
    kernel: str
    origin: tuple[str, ...]
    seconds: float
    basis: str = "measured"


@dataclass(frozen=True)
class SegmentRun:
    """One segment of a frame, as a cycle simulator asks for it.

    routes: for each router, int32 [tokens, k]: the experts chosen, by their place among the candidates, the largest
    logit first. early: for each router, the experts fetched before it decided. layer: for each instruction, the place
    of its layer in ``segment.layers``, uint16. input, output: the bytes of these windows before and behind the run.
    """

    stream: bytes = field(repr=False)
    routes: tuple[npt.NDArray[np.int32], ...] = field(repr=False)
    early: tuple[tuple[int, ...], ...]
    segment: Segment = field(repr=False)
    layer: npt.NDArray[np.uint16] = field(repr=False)
    input: npt.NDArray[np.uint8] = field(repr=False)
    output: npt.NDArray[np.uint8] = field(repr=False)
