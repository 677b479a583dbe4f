"""A session: a bundle's tasks, ready to run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar, overload

import numpy as np

from edgemtl.bundle import Bundle, FpgaProgram, Golden, InputEntry, Program, open_bundle, read_trust
from edgemtl.errors import UsageError
from edgemtl.operators import Array, Frame
from edgemtl.progress import counting, tick
from edgemtl.records import shorten
from edgemtl.runtime.devices import Device, open_device
from edgemtl.runtime.frames import Batch, check_batch, check_out, check_overlaps, check_staged, output_for
from edgemtl.runtime.records import Memory, SegmentRun, SelftestResult, StepTime, TaskInfo
from edgemtl.runtime.scrub import Scrubber
from edgemtl.runtime.selftest import compare_golden
from edgemtl.runtime.stop import Stop, cut
from edgemtl.runtime.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")

MAX_THREADS = 256
WORK_PER_CALL = 1 << 27
"""Multiply-accumulates and bytes of the steps that run without a look at whether to stop: a millisecond on a PC."""


class Session:
    """A bundle opened for running; made by ``Session.open``.

    Calls from any number of threads are served one after the other; two sessions are independent. Everything
    a run needs is allocated at open. The same input gives the same bits whatever ran before, whatever the
    thread count.
    """

    def __init__(self, bundle: Bundle, device: Device, worker: Worker, check_arena: bool) -> None:
        self._bundle, self._device, self._worker, self._check_arena = bundle, device, worker, check_arena
        self._closing, self._stops = threading.Lock(), set[Stop]()
        self._scrubber: Scrubber | None = None
        self._inputs = {entry.name: entry for entry in bundle.manifest.inputs}
        self._valid = {name: np.empty(entry.shape, np.bool_) for name, entry in self._inputs.items()}
        self._tasks = {
            task.name: TaskInfo(
                task.name,
                task.kind,
                task.channels,
                program.output.shape,
                program.output.dtype,
                task.inputs,
                task.pathway,
                program.steps,
                task.classes,
            )
            for task in bundle.manifest.tasks
            for program in (device.program.tasks[task.name],)
        }
        work = 0 if device.basis == "simulator" else WORK_PER_CALL
        self._ends = {name: cut(program.layers, work) for name, program in device.program.tasks.items()}

    @classmethod
    def open(
        cls,
        path: str | Path,
        device: str = "cpu",
        threads: int = 2,
        check_arena: bool = False,
        copy: bool = False,
        native_host: bool = False,
        keys: str | Path | Sequence[str | Path] | None = None,
        min_version: int | None = None,
        scrub_every: int | None = None,
    ) -> Session:
        """Open a bundle: check every byte of it, load its program, prepare its weights.

        device: "cpu", or "sim" for a board's program in simulation on this machine.
        threads: at most that many compute, the caller's own not counted among them.
        check_arena: fill working memory with NaN before each run and look for writes outside it afterwards; in
        simulation also for accesses whose order is left open.
        copy: read the file into memory instead of mapping it, so that nothing done to the file later, cutting it
        short too, reaches this session.
        native_host: in simulation, run the steps of the board's CPU in the bundle's library instead of in numpy; for
        bundles you trust as you trust a program.
        keys: files of public keys; a bundle that none of them signed is refused before its manifest is read. None takes
        unsigned bundles too. min_version: the least counter that a signed bundle must have.
        scrub_every: before each so many frames, hash the next slice of the weights in memory; a run that finds one
        changed raises IntegrityError and writes nothing for that frame. All are hashed once in `scrub_cycle` frames.
        Raises InputError, IntegrityError or ConfigError for the file, UnsupportedError for a program this
        machine or device cannot run, BudgetError where memory is missing, UsageError for the arguments.
        """
        _check_options(path, device, threads, scrub_every)
        with ExitStack() as undo:
            bundle = open_bundle(path, copy, read_trust(keys, min_version))
            undo.callback(bundle.close)
            opened = open_device(device, bundle, check_arena, native_host)
            undo.callback(opened.close)
            worker = Worker(threads)
            undo.callback(worker.close)
            session = cls(bundle, opened, worker, check_arena)
            session._call(Stop(), opened.start)
            session._scrubber = Scrubber(bundle, opened.sections, opened.prepared(), scrub_every)
            undo.pop_all()
        return session

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the run under way, then let go of everything; may be called twice."""
        with self._closing:
            self._worker.close()
            self._scrubber = None
            self._device.close()
            self._bundle.close()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(self._tasks)

    @property
    def inputs(self) -> tuple[InputEntry, ...]:
        """The inputs: name, shape and dtype of each, of images also the mean and std they are normalised with."""
        return self._bundle.manifest.inputs

    @property
    def input(self) -> InputEntry:
        """The only input. Raises UsageError where there are several."""
        if len(self.inputs) > 1:
            names = ", ".join(entry.name for entry in self.inputs)
            raise UsageError(f"the bundle must have one input to be asked for it, and has {names}; see Session.inputs")
        return self.inputs[0]

    @property
    def memory(self) -> Memory:
        """Bytes held."""
        return self._device.memory()

    @property
    def program(self) -> Program | FpgaProgram:
        """What the bundle says about its program."""
        return self._bundle.manifest.program

    def task_info(self, task: str) -> TaskInfo:
        """What a task is. Raises UsageError for a name that is not one of ``tasks``."""
        if task not in self._tasks:
            raise UsageError(f"task must be one of {', '.join(self._tasks)}, not {task!r}")
        return self._tasks[task]

    @overload
    def run(
        self, tasks: str, inputs: Array | Frame, out: Array | None = None, timeout: float | None = None
    ) -> Array: ...

    @overload
    def run(
        self,
        tasks: list[str] | tuple[str, ...],
        inputs: Array | Frame,
        out: dict[str, Array] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Array]: ...

    def run(
        self,
        tasks: str | list[str] | tuple[str, ...],
        inputs: Array | Frame,
        out: object = None,
        timeout: float | None = None,
    ) -> object:
        """Run one task, or several on the same inputs with their common beginning computed once.

        inputs: an array of each input by name, of any layout in memory; the array alone where there is one input.
        Inputs that no task asked for reads may be left out. Where every input begins with an axis of 1, arrays may
        have B frames there, which are run one by one.  out: where outputs go, an array or a dict of arrays by task;
        nothing is allocated then. Returns the task's output [B, ...], or a dict of them; an output whose shape does
        not start with 1, a scalar too, gets the axis B in front. Where an input does not begin with 1, outputs have
        the shape that the model gives them.
        timeout: seconds it may take, waiting for other calls included. Where they are over, `cancel` is called or the
        thread that waits is interrupted, the run stops before its next frame or step: outputs of frames that were done
        are in ``out``, which is not written any more, and the session can be used.
        Raises InputError for the inputs or out, UsageError for the tasks or a closed session, StoppedError.
        """
        stop = Stop(timeout)
        names = self._check_tasks(tasks)
        batch = self._check_batch(inputs, names)
        given = {tasks: out} if isinstance(tasks, str) else check_out(names, out)
        outputs = {name: self._output_for(name, batch, given.get(name)) for name in names}
        check_overlaps(batch, outputs)
        self._call(stop, self._run_batch, stop, names, batch, outputs)
        return outputs[tasks] if isinstance(tasks, str) else outputs

    def cancel(self) -> None:
        """Stop the calls under way and those that wait for them, from any thread; they raise StoppedError.

        Returns at once, and does nothing where no call is under way. A call ends before its next frame or step.
        """
        for stop in tuple(self._stops):
            stop.set("the run was cancelled by Session.cancel; run it again")

    def switch(self, task: str) -> None:
        """Make ready for a task: its code is resolved and paged in.

        The task named in ``run`` decides what runs.
        """
        self.task_info(task)
        self._call(Stop(), self._device.run, task, 0, 0)

    def profile(self, task: str, inputs: Array | Frame) -> tuple[StepTime, ...]:
        """Run a task on the first frame of ``inputs``, step by step, and say how long each step took."""
        self.task_info(task)
        stop = Stop()
        return self._call(stop, self._profile, stop, task, self._check_batch(inputs, (task,)))

    def simulate(self, task: str, inputs: Array | Frame) -> tuple[SegmentRun, ...]:
        """Run a task on the first frame of ``inputs`` and tell what each segment did, for a cycle simulator.

        Raises UnsupportedError on devices that have no segments.
        """
        self.task_info(task)
        return self._call(Stop(), self._simulate, task, self._check_batch(inputs, (task,)))

    def verify(self) -> None:
        """Hash the weights in memory again, and what was made of them at open.

        Raises IntegrityError, which names the section, where one is not what it was when the bundle was opened.
        """
        self._call(Stop(), self._verify)

    @property
    def scrub_cycle(self) -> int | None:
        """Frames in which all weights are hashed once; None where the session was opened without ``scrub_every``."""
        return self._open_scrubber().cycle

    def selftest(self) -> tuple[SelftestResult, ...]:
        """Run every task's golden inputs and compare with its golden outputs."""
        pairs = (golden for task in self._tasks for golden in self._bundle.goldens(task))
        with counting("golden inputs", len(self._bundle.manifest.golden)):
            return tuple(self._compare(golden) for golden in pairs)

    def _compare(self, golden: Golden) -> SelftestResult:
        result = compare_golden(golden, self.run(golden.task, golden.inputs))
        tick()
        return result

    def _check_tasks(self, tasks: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
        if not isinstance(tasks, str | list | tuple) or not all(isinstance(name, str) for name in tasks):
            raise UsageError(f"tasks must be a name or a list of names, not {shorten(tasks)}")
        names = (tasks,) if isinstance(tasks, str) else tuple(tasks)
        for name in names:
            self.task_info(name)
        if not names or len(set(names)) != len(names):
            raise UsageError(f"tasks must be one or more of {', '.join(self._tasks)}, each once, not {list(names)}")
        return names

    def _check_batch(self, inputs: object, tasks: tuple[str, ...]) -> Batch:
        return check_batch(inputs, self.inputs, [name for task in tasks for name in self._tasks[task].inputs])

    def _output_for(self, task: str, batch: Batch, given: object) -> Array:
        info = self._tasks[task]
        return output_for(task, info.output_shape, info.output_dtype, batch.frames, given)

    def _call(self, stop: Stop, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """``Worker.call``, which `cancel` reaches."""
        self._stops.add(stop)
        try:
            return self._worker.call(stop, function, *args, **kwargs)
        finally:
            self._stops.discard(stop)

    def _open_scrubber(self) -> Scrubber:
        if self._scrubber is None:
            raise UsageError("a Session must be open to be used, and this one was closed; open it again")
        return self._scrubber

    def _verify(self) -> None:
        self._open_scrubber().verify()

    def _run_batch(self, stop: Stop, names: tuple[str, ...], batch: Batch, outputs: dict[str, Array]) -> None:
        for index, frame in enumerate(batch):
            stop.check()
            self._open_scrubber().count_frame()
            self._stage(frame)
            begin = 0
            for name in names:
                self._run_steps(stop, name, begin)
                frame_output = outputs[name] if batch.frames is None else outputs[name][index, ...]
                with stop.writing():
                    np.copyto(frame_output, self._device.outputs[name].reshape(frame_output.shape))
                begin = self._device.program.common_prefix_steps
            self._finish()

    def _run_steps(self, stop: Stop, task: str, begin: int) -> None:
        """The steps of a task from ``begin`` on, in the parts between which it can stop."""
        for end in self._ends[task]:
            if end > begin:
                stop.check()
                self._device.run(task, begin, end)
                begin = end

    def _stage(self, frame: Frame) -> None:
        for name, array in frame.items():
            staged = self._device.inputs[name]
            np.copyto(staged, array)
            check_staged(self._inputs[name], staged, self._valid[name])
        if self._check_arena:
            self._device.poison()

    def _finish(self) -> None:
        if self._check_arena:
            self._device.check_guards()

    def _simulate(self, task: str, batch: Batch) -> tuple[SegmentRun, ...]:
        self._stage(next(iter(batch)))
        runs = self._device.trace(task)
        self._finish()
        return runs

    def _profile(self, stop: Stop, task: str, batch: Batch) -> tuple[StepTime, ...]:
        self._stage(next(iter(batch)))
        times = []
        for layer in self._device.program.tasks[task].layers:
            stop.check()
            start = time.perf_counter()
            self._device.run(task, layer.step, layer.step + 1)
            seconds = time.perf_counter() - start
            times.append(StepTime(layer.step, layer.kernel, layer.origin, seconds, self._device.basis))
        self._finish()
        return tuple(times)


def _check_options(path: object, device: object, threads: object, scrub_every: object) -> None:
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"the bundle must be given as a path, not {type(path).__name__}; pass a str or a Path")
    if not isinstance(device, str):
        raise UsageError(f"device must be a name, not {device!r}")
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"threads must be from 1 to {MAX_THREADS}, not {threads!r}")
    if scrub_every is not None and (type(scrub_every) is not int or scrub_every < 1):
        raise UsageError(f"scrub_every must be a whole number of frames from 1 on, not {scrub_every!r}")
