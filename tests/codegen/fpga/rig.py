"""Segments of integer steps on the functional simulator, beside what the law says of the same steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

import numpy as np

from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import BoardProgram, SegmentCall
from edgemtl.codegen.fpga.segment import BoardSegment
from edgemtl.codegen.fpga.site import Stored
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.sim.functional import Result, Windows, execute
from edgemtl.hw.spec import AcceleratorSpec, Buffer, read_spec
from edgemtl.lowering.execute import Memory, run_step
from edgemtl.lowering.ir import INPUT, Step, View
from edgemtl.operators import Frame, QRouter

IMAGE = f"{INPUT}image"

RUBBISH = 0xA5
KIB = 1024


def small_spec(rows: int, columns: int, sizes: Mapping[str, int] | None = None, **changes: int) -> AcceleratorSpec:
    """An engine with buffers so small that work is cut into many blocks; ``sizes`` in bytes by memory."""
    made = read_spec("ultra96v2")
    held = dict(residual=40 * KIB, hidden=64 * KIB, input=24 * KIB, scores=2 * KIB, queries=8 * KIB)
    held |= dict(constants=4 * KIB, side=96) | dict(sizes or {})
    buffers = {name: Buffer(size, 32, 1, "bram36") for name, size in held.items()}
    buffers["scores"] = Buffer(held["scores"], 4 * columns, 2, "bram36")
    numbers = dict(array_rows=rows, array_columns=columns, accumulator_rows=24, weight_ring_bytes=16 * KIB)
    numbers |= dict(weight_load_bytes_per_cycle=columns, routing_entries=1024) | changes
    return replace(made, engine=replace(made.engine, buffers=replace(made.engine.buffers, **buffers), **numbers))


@cache
def engines() -> dict[str, AcceleratorSpec]:
    """Three boards, one of which works on two tiles a cycle, and two engines smaller than any."""
    boards = {name: read_spec(name) for name in ("zcu104", "zcu104x2", "ultra96v2")}
    return boards | {"16 x 16": small_spec(16, 16), "64 x 32": small_spec(64, 32)}


ENGINES = ("zcu104", "zcu104x2", "ultra96v2", "16 x 16", "64 x 32")


@dataclass(frozen=True)
class Law:
    """What the law makes of steps: every buffer's values, and the choices of every router by what it writes first."""

    values: Mapping[str, np.ndarray]
    choices: Mapping[str, np.ndarray]

    @property
    def routes(self) -> tuple[np.ndarray, ...]:
        """The choices of all routers in order."""
        return tuple(self.choices.values())


def law(steps: Sequence[Step], image: Frame) -> Law:
    """Run the steps one after the other."""
    memory, values, choices = Memory(steps, image), {}, {}
    for index, step in enumerate(steps):
        run_step(index, step, memory)
        values |= {view.buffer: memory.read(view).copy() for view in step.outputs}
        if isinstance(step.operator, QRouter):
            offsets, slots = memory.read(step["offsets"]), memory.read(step["slots"])
            choices[step["weights"].buffer] = np.searchsorted(offsets, slots, side="right") - 1
    return Law(values, choices)


def windows(segment: BoardSegment, views: Sequence[View], parameters: bytes, known: Law) -> Windows:
    """The board's memory before a segment runs that reads ``views``; what no row fills holds rubbish."""
    held = {name: np.full(max(size, LINE_BYTES), RUBBISH, np.uint8) for name, size in asdict(segment.windows).items()}
    for rows, view in zip(segment.inputs, views, strict=True):
        assert rows.buffer == view.buffer
        whole = known.values[view.buffer].reshape(-1)
        put(held["input"], rows, whole[view.offset : view.offset + view.size])
    return Windows(np.frombuffer(parameters, np.uint8), held["input"], held["output"], held["scratch"])


def put(window: np.ndarray, rows: Stored, values: np.ndarray) -> None:
    """Write rows where a segment reads them."""
    data = np.ascontiguousarray(values.reshape(rows.rows, rows.width)).view(np.uint8)
    _rows(window, rows)[:, : data.shape[1]] = data


def get(window: np.ndarray, rows: Stored) -> np.ndarray:
    """Read rows where a segment left them."""
    data = _rows(window, rows)[:, : rows.width * np.dtype(rows.dtype).itemsize]
    return np.ascontiguousarray(data).view(rows.dtype)


def _rows(window: np.ndarray, rows: Stored) -> np.ndarray:
    first = rows.line * LINE_BYTES
    return window[first : first + rows.rows * rows.pitch].reshape(rows.rows, rows.pitch)


def run(
    segment: BoardSegment, views: Sequence[View], program: BoardProgram, known: Law
) -> tuple[dict[str, np.ndarray], Result]:
    """One frame of a segment that reads ``views`` of the law's values: what it leaves by buffer. Hazards raise."""
    held = windows(segment, views, program.parameters, known)
    result = execute(segment.stream, program.spec, held)
    return {rows.buffer: get(held.output, rows) for rows in segment.outputs}, result


def check(program: BoardProgram, tasks: Mapping[str, Sequence[Step]], image: Frame) -> None:
    """Every segment of every task gives the law's bits and the law's routes, and all that others read."""
    for task in program.tasks:
        known = law(tasks[task.task], image)
        made, expected = {IMAGE}, np.empty(0)
        left = {step.outputs[0].buffer for step in task.steps if isinstance(step.operator, QRouter)}
        routers = iter(name for name in known.choices if name not in left)
        for step in task.steps:
            assert {view.buffer for view in step.inputs} <= made
            made |= {view.buffer for view in step.outputs}
            if not isinstance(step.operator, SegmentCall):
                continue
            segment = task.segments[step.operator.index]
            found, result = run(segment, step.inputs, program, known)
            assert list(found) == [rows.buffer for rows in segment.outputs]
            assert set(found) == {view.buffer for view in step.outputs}
            for name, values in found.items():
                np.testing.assert_array_equal(values, known.values[name].reshape(values.shape), err_msg=name)
            for ours in result.routes:
                # A router writes one list, or one for each chunk of tokens.
                expected = expected if len(expected) else known.choices[next(routers)]
                np.testing.assert_array_equal(ours, expected[: len(ours)])
                expected = expected[len(ours) :]
            assert not len(expected)
        assert next(routers, None) is None


def compile_and_check(steps: Sequence[Step], image: Frame, spec: AcceleratorSpec, **options: object) -> BoardProgram:
    """The program of one task, once it gave the law's bits."""
    program = compile_segments({"task": steps}, spec, **options)
    check(program, {"task": steps}, image)
    return program
