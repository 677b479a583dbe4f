"""Whether steps fit their operators' signatures, asked between stages: one that does not is a mistake of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgemtl.errors import InternalError
from edgemtl.lowering.ir import INPUTS, PREPARED, Step, View, space_of
from edgemtl.operators import Copy, QCopy

WORD_BYTES = 4


class VerificationError(InternalError):
    """A step that does not fit its operator's signature."""


def verify(stage: str, steps: Sequence[Step]) -> None:
    """Raise VerificationError, which names ``stage`` and the step, for the first thing that is wrong with the steps.

    Every operand has the shape and type its operator's signature states and lies row-major, a copy's views have its
    strides, and what is read has been written before, in the type it is read in.
    """
    written = _inputs(steps)
    for index, step in enumerate(steps):
        read = {(view.buffer, view.dtype) for view in step.inputs if not view.buffer.startswith(PREPARED)}
        unwritten = (f"it reads {b}, which no step before writes in {dtype}" for b, dtype in sorted(read - written))
        for fault in (*_faults(step), *unwritten):
            what = ", ".join(step.origin) or "no node"
            raise VerificationError(f"after {stage}, step {index} ({type(step.operator).__name__} of {what}): {fault}")
        written.update((view.buffer, view.dtype) for view in step.outputs)


def _inputs(steps: Sequence[Step]) -> set[tuple[str, str]]:
    """The inputs that steps read, each in the type in which it is read first."""
    views: dict[str, View] = {}
    for view in (view for step in steps for view in step.inputs if space_of(view.buffer) == INPUTS):
        views.setdefault(view.buffer, view)
    return {(buffer, view.dtype) for buffer, view in views.items()}


def _faults(step: Step) -> Iterator[str]:
    operator, constants = step.operator, [constant.type for constant in step.constants]
    if isinstance(operator, Copy | QCopy):
        yield from _misfit_copy(step, operator)
        return
    inputs, outputs = ([view.type for view in views] for views in (step.inputs, step.outputs))
    if misfit := operator.signature.find_misfit(inputs, outputs, constants):
        yield str(misfit)
    yield from (f"{view.buffer} must lie row-major without gaps" for view in step.views if not view.is_dense)


def _misfit_copy(step: Step, operator: Copy | QCopy) -> Iterator[str]:
    source, target = step["x"], step["y"]
    itemsize = operator.itemsize if isinstance(operator, QCopy) else WORD_BYTES
    for view, strides in ((source, operator.source_strides), (target, operator.target_strides)):
        words = view.itemsize // itemsize
        in_words = tuple(stride * words for stride in view.strides), view.shape
        whole = (*in_words[0], 1), (*view.shape, words)
        if (strides, operator.shape) != (in_words if words == 1 else whole):
            yield f"{view.buffer} must have the copy's strides {list(strides)} and shape {list(operator.shape)}"
    if source.dtype != target.dtype:
        yield f"a copy must not change types, from {source.dtype} to {target.dtype}"
