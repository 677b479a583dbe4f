"""The scales that a quantised model brings along: its roundings, taken out of the steps into the tensors of values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgemtl import operators as ops
from edgemtl.lowering.ir import INPUTS, OUTPUT, Step, View, dense, make_step, space_of
from edgemtl.operators import Operator
from edgemtl.quantize.needs import gives_what_it_reads
from edgemtl.quantize.observe import Observation
from edgemtl.quantize.tensors import FLOAT_TENSOR, Tensor


@dataclass(frozen=True)
class Scaled:
    """Float steps whose results are rounded where ``tensors`` has their buffer, each written by one step.

    Other roundings that no step takes along stay steps of their own: a `Quantise` that writes values, not integers. One
    to integers that the law has no place for stays a `Quantise` and a `Dequantise`, and its tensor is float32.
    sources: for each step its index among the steps of the float program.
    """

    steps: tuple[Step, ...]
    sources: tuple[int, ...]
    tensors: Mapping[str, Tensor]

    def observed(self, seen: Observation) -> Observation:
        """What was observed of the float program's steps, by the numbers of these."""
        places = {source: place for place, source in enumerate(self.sources)}
        ranges = {}
        for name, of in seen.ranges.items():
            number, dot, part = name.partition(".")
            if not number.isdecimal():
                ranges[name] = of
            elif int(number) in places:
                ranges[f"{places[int(number)]}{dot}{part}"] = of
        channels = {places[source]: array for source, array in seen.channels.items()}
        return Observation(ranges, channels)


def take_scales(steps: Sequence[Step]) -> Scaled:
    """Take the roundings out of the steps; a program without any stays as it is.

    A rounding goes into the step in front of it where nothing else reads what that gives, and vanishes where the value
    has been rounded in the same way before.
    """
    work, tensors = _merge_pairs(steps)
    for step in [step for _, step in work if isinstance(step.operator, ops.Quantise) and step["y"].buffer in tensors]:
        work = _absorb(work, step, tensors)
    if tensors:
        work = [part for numbered in work for part in _apart(numbered, tensors)]
    steps = [step for _, step in work]
    _move_back(steps, tensors)
    _part_mixed(steps, tensors)
    _move_on(steps, tensors)
    return Scaled(tuple(step for _, step in work), tuple(index for index, _ in work), tensors)


Work = list[tuple[int, Step]]
"""Steps with their indices in the float program."""


def _merge_pairs(steps: Sequence[Step]) -> tuple[Work, dict[str, Tensor]]:
    """The steps with a `Quantise` in place of every pair, and the tensors of what these write."""
    reals = {step["x"].buffer: step for step in steps if isinstance(step.operator, ops.Dequantise)}
    work: Work = []
    tensors = {}
    for index, step in enumerate(steps):
        match step.operator:
            case ops.Quantise(dtype=dtype, zero=zero) if _has_place(dtype, zero):
                real = reals[step["y"].buffer]
                assert isinstance(real.operator, ops.Dequantise)
                tensors[real["y"].buffer] = Tensor(dtype, real.operator.scale, zero)
                work.append((index, replace(step, outputs=real.outputs)))
            case ops.Dequantise(dtype=dtype, zero=zero) if _has_place(dtype, zero):
                continue
            case ops.Dequantise():
                tensors[step["y"].buffer] = FLOAT_TENSOR
                work.append((index, step))
            case _:
                work.append((index, step))
    return work, tensors


def _has_place(dtype: str, zero: int) -> bool:
    """Whether the integer law has such tensors: of 16 bits only those whose zero point is 0."""
    return dtype == "int8" or zero == 0


def _absorb(work: Work, old: Step, tensors: dict[str, Tensor]) -> Work:
    """The steps without one rounding where another step or an equal rounding does it. Changes ``tensors``."""
    # Earlier roundings may have renamed what this one reads.
    at = next(i for i, (_, step) in enumerate(work) if step.outputs == old.outputs and step.operator == old.operator)
    rounding = work[at][1]
    source, target = rounding["x"].buffer, rounding["y"].buffer
    rest = work[:at] + work[at + 1 :]
    if space_of(source) == INPUTS or rounding["x"].size != _extent(work, source):
        return work
    if source in tensors:
        if target == OUTPUT or not tensors[source].equals(tensors[target]):
            return work
        del tensors[target]
        return _renamed(rest, target, source)
    writers = [step for _, step in rest if any(view.buffer == source for view in step.outputs)]
    is_read = any(view.buffer == source for _, step in rest for view in step.inputs)
    if is_read or not _write_all(writers, source, work):
        return work
    if len(writers) > 1 and not all(_is_movable(step["x"].buffer, rest, tensors) for step in writers):
        return work
    return _renamed(rest, source, target)


def _is_movable(buffer: str, work: Work, tensors: Mapping[str, Tensor]) -> bool:
    """Whether one step alone reads a value that is not rounded, and its writers can round it."""
    writers = [step for _, step in work if any(view.buffer == buffer for view in step.outputs)]
    readers = [step for _, step in work if any(view.buffer == buffer for view in step.inputs)]
    is_open = space_of(buffer) != INPUTS and buffer not in tensors
    return is_open and len(readers) == 1 and _write_all(writers, buffer, work)


def _write_all(steps: Sequence[Step], buffer: str, work: Work) -> bool:
    """Whether one step's first output is the whole of a buffer, or the results of several copies are."""
    whole = sum(step.result.size for step in steps) == _extent(work, buffer)
    copies = len(steps) == 1 or all(isinstance(step.operator, ops.Copy) for step in steps)
    return bool(steps) and whole and copies and all(step.result.buffer == buffer for step in steps)


def _extent(work: Work, buffer: str) -> int:
    """The elements of a buffer, as far as steps touch it."""
    views = (view for _, step in work for view in step.views if view.buffer == buffer)
    return max(view.extent_bytes // view.itemsize for view in views)


def _renamed(work: Work, old: str, new: str) -> Work:
    def rename(view: View) -> View:
        return replace(view, buffer=new) if view.buffer == old else view

    return [
        (index, replace(step, inputs=tuple(map(rename, step.inputs)), outputs=tuple(map(rename, step.outputs))))
        for index, step in work
    ]


def _apart(numbered: tuple[int, Step], tensors: Mapping[str, Tensor]) -> Iterator[tuple[int, Step]]:
    """A linear layer and its sum with the residual, of which only 16 bits have an integer form together."""
    index, step = numbered
    own = tensors.get(step.result.buffer) if step.outputs else None
    linear = step.operator
    if not isinstance(linear, ops.Linear) or not linear.residual or (own is not None and own.dtype == "int16"):
        yield numbered
        return
    y = step["y"]
    product = dense(f"{y.buffer}.product.{index}", y.shape)
    constants = {name: step.constant(name) for name in linear.signature.constants}
    alone = replace(linear, residual=False)
    yield index, make_step(alone, {"x": step["x"], "y": product}, constants, step.origin)
    views = {"a": product, "b": step["residual"], "y": y}
    yield index, make_step(ops.Add(y.shape, step["residual"].shape), views, {}, step.origin)


def _move_back(steps: Sequence[Step], tensors: dict[str, Tensor]) -> None:
    """Round in front of steps that only move or choose values, not behind: the result is the same. In place."""
    work = list(enumerate(steps))
    for step in reversed(steps):
        tensor = tensors.get(step.result.buffer) if step.outputs and _moves(step.operator) else None
        for source in [view.buffer for view in step.inputs] if tensor is not None else []:
            if _is_movable(source, work, tensors):
                assert tensor is not None
                tensors[source] = tensor


def _part_mixed(steps: Sequence[Step], tensors: dict[str, Tensor]) -> None:
    """A buffer into which values of several tensors are copied is float32. In place."""
    if not tensors:
        return
    writers: defaultdict[str, list[Step]] = defaultdict(list)
    for step in steps:
        for view in step.outputs:
            writers[view.buffer].append(step)
    for buffer, several in writers.items():
        parts = [tensors.get(step["x"].buffer) if isinstance(step.operator, ops.Copy) else None for step in several]
        first = next(iter(parts))
        if len(parts) > 1 and (first is None or any(part is None or not part.equals(first) for part in parts)):
            tensors[buffer] = FLOAT_TENSOR


def _move_on(steps: Sequence[Step], tensors: dict[str, Tensor]) -> None:
    """What the law has no place for has none behind steps that only move it. In place."""
    for step in steps:
        sources = [tensors.get(view.buffer) for view in step.inputs] if _moves(step.operator) else []
        if any(tensor is FLOAT_TENSOR for tensor in sources):
            tensors.setdefault(step.result.buffer, FLOAT_TENSOR)


def _moves(operator: Operator) -> bool:
    """Whether an operator gives some of the numbers it reads, unchanged."""
    is_maximum = isinstance(operator, ops.Pool) and operator.kind == "max"
    return isinstance(operator, ops.Copy) or is_maximum or gives_what_it_reads(operator)
