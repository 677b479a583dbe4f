"""Golden pairs of float32: what onnxruntime answers to inputs on which rounding decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx.reference import ReferenceEvaluator

from edgemtl.bundle import PLAIN
from edgemtl.errors import UnsupportedError
from edgemtl.frontend import InputSpec, MultiTaskModel
from edgemtl.frontend.moe_node import MoEAttributes, logits_of, moe_nodes
from edgemtl.golden.inputs import Drawn, draw_plain, draw_skewed, shake_frame
from edgemtl.golden.pairs import TOLERANCE, Answer, Goldens, pack, scale_of, spread, tolerance_of
from edgemtl.golden.roundings import rounding_meter
from edgemtl.images import normalise
from edgemtl.onnx_runtime import open_session
from edgemtl.operators import Array, Frame
from edgemtl.partition import TaskModel

Ask = Callable[[Frame], Array]

# A router that hesitates this little may fall either way in another order of additions.
LEAST_MARGIN = 1e-5
SHAKES = 2
STEADY = TOLERANCE / 4
"""Of the largest output: what shaking the input may change where the ordinary tolerance holds."""
WIDENING = 16
"""Where every input changes more, so many times the change passes."""
ROUNDINGS = 2
"""Where a quantised model rounds otherwise, so many times the change passes."""
LOST = 0.01
"""Of the largest output: an input that changes more says nothing."""


@dataclass(frozen=True)
class _Choice:
    """An input with its output, how far that changes when the input is shaken, the least margin of a router, and how
    far the output moves where a quantised model rounds otherwise.
    """

    drawn: Drawn
    output: Array
    change: float
    margin: float
    rounded: float

    @property
    def share(self) -> float:
        """The larger change, of the largest output."""
        change = max(self.change, self.rounded)
        return change / scale_of(self.output) if change else 0.0

    @property
    def steady(self) -> bool:
        """Whether another order of additions gives the same."""
        return self.margin >= LEAST_MARGIN and self.share <= STEADY and bool(np.isfinite(self.output).all())

    @property
    def rank(self) -> tuple[bool, bool, float, float]:
        """The least is the best."""
        return not np.isfinite(self.output).all(), self.margin < LEAST_MARGIN, self.share, -self.margin


def make_golden(
    model_file: Path, model: MultiTaskModel, tasks: Sequence[TaskModel], images: Sequence[Frame], seed: int
) -> Goldens:
    """A plain and a skewed golden pair per task.

    The plain input is one of ``images`` where there are any, else drawn from ``seed``. Of several inputs the first is
    taken on which no router hesitates, and whose output stays when it is shaken as much as rounding would.  The output
    is onnxruntime's, from the user's file. A skewed pair that rounding decides is left out, and a note says so.
    """
    answers: list[tuple[str, Answer]] = []
    notes: list[str] = []
    whole = _open(model_file)
    for task in tasks:
        ask, margin, rounded = _asker(whole, model, task, notes), _margin_meter(task), rounding_meter(task)
        inputs = [of for of in model.inputs if of.name in task.reads]
        for candidates in (draw_plain(inputs, images, seed), draw_skewed(inputs, seed)):
            choice = _choose(candidates, inputs, ask, margin, rounded)
            notes += _doubts(task.task.name, choice)
            if choice.drawn.case == PLAIN or choice.share <= LOST:
                answers.append((task.task.name, Answer(choice.drawn, choice.output, _tolerance(choice))))
    return pack(answers, notes)


def _open(model: Path | bytes) -> Any:
    """onnxruntime on a file or a serialised model; None where it does not take what the frontend does."""
    try:
        return open_session(model)
    # onnxruntime's errors share no base class.
    except Exception:
        return None


def _choose(
    candidates: Iterable[Drawn],
    inputs: Sequence[InputSpec],
    ask: Ask,
    margin: Callable[[Frame], float],
    rounded: Callable[[Frame], float],
) -> _Choice:
    """The first steady input, else the least unsteady one."""
    tried = []
    for drawn in candidates:
        frame = drawn.whole(inputs)
        output = ask(frame)
        change = spread([ask(shake_frame(frame, seed)) for seed in range(SHAKES)], output)
        tried.append(_Choice(drawn, output, change, margin(frame), rounded(frame)))
        if tried[-1].steady:
            return tried[-1]
    return min(tried, key=lambda choice: choice.rank)


def _tolerance(choice: _Choice) -> float:
    tolerance = max(tolerance_of(choice.output), ROUNDINGS * choice.rounded if np.isfinite(choice.rounded) else 0.0)
    unsteady = choice.change > STEADY * scale_of(choice.output) and np.isfinite(choice.change)
    return max(tolerance, WIDENING * choice.change) if unsteady else tolerance


def _doubts(task: str, choice: _Choice) -> Iterator[str]:
    case = choice.drawn.case
    if case != PLAIN and choice.share > LOST:
        yield f"{task}: no skewed golden input, since rounding decides the output on all that were drawn"
    elif choice.margin < LEAST_MARGIN:
        yield f"{task}: a router hesitates by {choice.margin:.1e} on the {case} golden input; its self-test may fail"
    elif choice.share > STEADY:
        yield (
            f"{task}: rounding changes the output on the {case} golden input by {choice.share:.1e} of its largest "
            f"value; the self-test passes {_tolerance(choice):.1e}"
        )


def _margin_meter(task: TaskModel) -> Callable[[Frame], float]:
    """From a frame to the least gap between the last probability a router picks and the first it does not."""
    watched = task.ir.clone()
    nodes = list(moe_nodes(watched))
    if not nodes:
        return lambda frame: np.inf
    watched.graph.outputs[:] = [logits_of(node) for node in nodes]
    session = open_session(ir.to_proto(watched).SerializeToString())
    attributes = [MoEAttributes.from_node(node) for node in nodes]

    def measure(frame: Frame) -> float:
        logits = session.run(None, task.feed(frame))
        return min(_margin(x, a) for x, a in zip(logits, attributes, strict=True))

    return measure


def _margin(logits: Array, attributes: MoEAttributes) -> float:
    if attributes.routing == "weights":
        # Ordinary operators chose before: shaking the input shows whether they hesitate.
        return np.inf
    exponent = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    probability = exponent / exponent.sum(axis=-1, keepdims=True)
    candidates = probability if attributes.experts is None else probability[:, list(attributes.experts)]
    ranked = -np.sort(-candidates, axis=-1)
    return (
        float((ranked[:, attributes.k - 1] - ranked[:, attributes.k]).min())
        if attributes.k < ranked.shape[1]
        else np.inf
    )


def _asker(whole: Any, model: MultiTaskModel, task: TaskModel, notes: list[str]) -> Ask:
    """onnxruntime on the user's file where that is exact and takes the inputs alone, else on the task's graph.

    Where onnxruntime has no kernel for an operator of the task, onnx's own reference answers, and a note says so.
    """
    session, output = whole, task.task.output
    if session is None or task.pathway == "calibrated" or not _answers(session, model, output):
        proto = ir.to_proto(task.ir)
        session = _open(proto.SerializeToString())
        if session is None:
            notes.append(f"{task.task.name}: golden outputs by onnx's reference, as onnxruntime does not run the model")
            return _by_reference(proto, task)
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    # A session wants a value of every input, also of those that what it computes does not read.
    specs, given = {of.name: of for of in model.inputs}, {v.name for v in session.get_inputs()}
    is_own = session is whole
    unread = {name: _as_file(np.zeros(of.shape, of.dtype), of, is_own) for name, of in specs.items() if name in given}
    return lambda frame: np.asarray(
        session.run(
            [output], unread | {n: _as_file(a, specs[n], is_own) for n, a in task.feed(frame).items()}, options
        )[0]
    )


def _as_file(array: Array, of: InputSpec, is_own: bool) -> Array:
    """An input as the user's file takes it, which has normalised images where the program has a camera's bytes."""
    if not (is_own and of.is_camera):
        return array
    assert of.mean is not None
    assert of.std is not None
    (pixels,) = array
    return normalise(pixels, of.mean, of.std)


def _by_reference(proto: onnx.ModelProto, task: TaskModel) -> Ask:
    reference = ReferenceEvaluator(proto)

    def answer(frame: Frame) -> Array:
        try:
            with np.errstate(all="ignore"):
                (output,) = reference.run([task.task.output], task.feed(frame))
                return np.asarray(output)
        # It raises what its Python stumbles over.
        except Exception as error:
            reason = "neither onnxruntime nor onnx's reference runs it, so its result cannot be checked"
            raise UnsupportedError(f"task {task.task.name}", reason, "compile with --no-selftest") from error

    return answer


def _answers(session: Any, model: MultiTaskModel, output: str) -> bool:
    """Whether the session computes ``output`` from the inputs of the model alone."""
    given = {v.name for v in session.get_inputs()}
    return given == {of.name for of in model.inputs} and output in [v.name for v in session.get_outputs()]
