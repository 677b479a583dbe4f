"""Whether steps fit their operators' signatures, asked between stages: one that does not is a mistake of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgemtl.lowering.ir import IMAGE, PREPARED, Step
from edgemtl.operators import Copy, QCopy, TensorType

WORD_BYTES = 4


class VerificationError(Exception):
    """A step that does not fit its operator's signature: a mistake of the compiler, not of its user."""


def verify(stage: str, steps: Sequence[Step]) -> None:
    """Raise VerificationError, which names ``stage`` and the step, for the first thing that is wrong with the steps.

    Every operand has the shape and type its operator's signature states and lies row-major, a copy's views have its
    strides, and what is read has been written before.
    """
    written = {IMAGE}
    for index, step in enumerate(steps):
        read = [view.buffer for view in step.inputs if not view.buffer.startswith(PREPARED)]
        unwritten = (f"it reads {buffer}, which no step before writes" for buffer in read if buffer not in written)
        for fault in (*_faults(step), *unwritten):
            what = ", ".join(step.origin) or "no node"
            raise VerificationError(f"after {stage}, step {index} ({type(step.operator).__name__} of {what}): {fault}")
        written.update(view.buffer for view in step.outputs)


def _faults(step: Step) -> Iterator[str]:
    signature, operator = step.operator.signature, step.operator
    constants = [
        (constant.name, TensorType(constant.array.shape, constant.array.dtype.name)) for constant in step.constants
    ]
    sides = (
        ("inputs", signature.inputs.items(), [(view.buffer, view.type) for view in step.inputs]),
        ("outputs", signature.outputs.items(), [(view.buffer, view.type) for view in step.outputs]),
        ("constants", signature.constant_types, constants),
    )
    for side, expected, actual in sides:
        if len(expected) != len(actual):
            yield f"its operator has {len(expected)} {side}, it has {len(actual)}"
            return
        if not operator.strided:
            yield from _other_types(expected, actual)
    if isinstance(operator, Copy | QCopy):
        yield from _misfit_copy(step, operator)
    else:
        yield from (f"{view.buffer} must lie row-major without gaps" for view in step.views if not view.is_dense)


def _other_types(expected: Iterable[tuple[str, TensorType]], actual: Iterable[tuple[str, TensorType]]) -> Iterator[str]:
    for (name, kind), (at, found) in zip(expected, actual, strict=True):
        if kind != found:
            yield f"{name} must be {_describe(kind)}, and {at} is {_describe(found)}"


def _describe(kind: TensorType) -> str:
    return f"{kind.dtype}{list(kind.shape)}"


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
