"""A session: a bundle's tasks, ready to run."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import overload

import numpy as np

from edgemtl.bundle import Bundle, FpgaProgram, InputEntry, Program, open_bundle
from edgemtl.errors import UsageError
from edgemtl.runtime.devices import Device, open_device
from edgemtl.runtime.images import FloatArray, check_batch, check_finite, output_for, outputs_for
from edgemtl.runtime.records import Memory, SegmentRun, SelftestResult, StepTime, TaskInfo
from edgemtl.runtime.selftest import compare_golden
from edgemtl.runtime.worker import Worker

MAX_THREADS = 256


class Session:
    """A bundle opened for running; made by ``Session.open``.

    Calls from any number of threads are served one after the other; two sessions are independent. Everything
    a run needs is allocated at open. The same input gives the same bits whatever ran before, whatever the
    thread count.
    """

    def __init__(self, bundle: Bundle, device: Device, worker: Worker, check_arena: bool) -> None:
        self._bundle, self._device, self._worker, self._check_arena = bundle, device, worker, check_arena
        self._closing = threading.Lock()
        self._finite = np.empty(bundle.manifest.input.shape, np.bool_)
        self._tasks = {
            task.name: TaskInfo(task.name, task.kind, task.channels, program.output.shape, task.pathway, program.steps)
            for task in bundle.manifest.tasks
            for program in (device.program.tasks[task.name],)
        }

    @classmethod
    def open(cls, path: str | Path, device: str = "cpu", threads: int = 2, check_arena: bool = False) -> Session:
        """Open a bundle: check every byte of it, load its program, prepare its weights.

        device: "cpu", or "sim" for a board's program in simulation on this machine.
        threads: at most that many compute, the caller's own not counted among them.
        check_arena: fill working memory with NaN before each run and look for writes outside it afterwards; in
        simulation also for accesses whose order is left open.
        Raises InputError, IntegrityError or ConfigError for the file, UnsupportedError for a program this
        machine or device cannot run, BudgetError where memory is missing, UsageError for the arguments.
        """
        if not 1 <= threads <= MAX_THREADS:
            raise UsageError(f"threads must be from 1 to {MAX_THREADS}, not {threads}")
        bundle = open_bundle(path)
        worker = Worker()
        try:
            session = cls(bundle, open_device(device, bundle, threads, check_arena), worker, check_arena)
            worker.call(session._device.start)
        except BaseException:
            worker.close()
            bundle.close()
            raise
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
            self._device.close()
            self._bundle.close()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(self._tasks)

    @property
    def input(self) -> InputEntry:
        """The input: its shape (1, C, H, W), and the mean and std it is normalised with."""
        return self._bundle.manifest.input

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
    def run(self, tasks: str, image: FloatArray, out: FloatArray | None = None) -> FloatArray: ...

    @overload
    def run(
        self, tasks: list[str] | tuple[str, ...], image: FloatArray, out: dict[str, FloatArray] | None = None
    ) -> dict[str, FloatArray]: ...

    def run(self, tasks: str | list[str] | tuple[str, ...], image: FloatArray, out: object = None) -> object:
        """Run one task, or several on the same image with their common beginning computed once.

        image: float32 [B, C, H, W] of any layout in memory; frames are run one by one.  out: where outputs
        go, an array or a dict of arrays by task; nothing is allocated then. Returns the task's output float32
        [B, C, H, W], or a dict of them; an output whose shape does not start with 1, a scalar too, gets the axis B in
        front. Raises InputError for the image or out, UsageError for the tasks or a
        closed session.
        """
        names = self._check_tasks(tasks)
        batch = check_batch(image, self.input.shape)
        shapes = {name: self._tasks[name].output_shape for name in names}
        if isinstance(tasks, str):
            output = output_for(tasks, shapes[tasks], len(batch), out)
            self._worker.call(self._run_batch, names, batch, {tasks: output})
            return output
        outputs = outputs_for(shapes, len(batch), out)
        self._worker.call(self._run_batch, names, batch, outputs)
        return outputs

    def switch(self, task: str) -> None:
        """Make ready for a task: its code is resolved and paged in.

        The task named in ``run`` decides what runs.
        """
        self.task_info(task)
        self._worker.call(self._device.run, task, 0, 0)

    def profile(self, task: str, image: FloatArray) -> tuple[StepTime, ...]:
        """Run a task on the first frame of ``image``, step by step, and say how long each step took."""
        self.task_info(task)
        return self._worker.call(self._profile, task, check_batch(image, self.input.shape))

    def simulate(self, task: str, image: FloatArray) -> tuple[SegmentRun, ...]:
        """Run a task on the first frame of ``image`` and tell what each segment did, for a cycle simulator.

        Raises UnsupportedError on devices that have no segments.
        """
        self.task_info(task)
        return self._worker.call(self._simulate, task, check_batch(image, self.input.shape))

    def selftest(self) -> tuple[SelftestResult, ...]:
        """Run every task's golden inputs and compare with its golden outputs."""
        pairs = (golden for task in self._tasks for golden in self._bundle.goldens(task))
        return tuple(compare_golden(golden, self.run(golden.task, golden.input)) for golden in pairs)

    def _check_tasks(self, tasks: str | list[str] | tuple[str, ...]) -> tuple[str, ...]:
        names = (tasks,) if isinstance(tasks, str) else tuple(tasks)
        for name in names:
            self.task_info(name)
        if not names or len(set(names)) != len(names):
            raise UsageError(f"tasks must be one or more of {', '.join(self._tasks)}, each once, not {list(names)}")
        return names

    def _run_batch(self, names: tuple[str, ...], batch: FloatArray, outputs: dict[str, FloatArray]) -> None:
        for index, frame in enumerate(batch):
            self._stage(frame)
            begin = 0
            for name in names:
                self._device.run(name, begin, self._tasks[name].steps)
                frame_output = outputs[name][index, ...]
                np.copyto(frame_output, self._device.outputs[name].reshape(frame_output.shape))
                begin = self._device.program.common_prefix_steps
            self._finish()

    def _stage(self, frame: FloatArray) -> None:
        np.copyto(self._device.image[0], frame)
        check_finite(self._device.image, self._finite)
        if self._check_arena:
            self._device.poison()

    def _finish(self) -> None:
        if self._check_arena:
            self._device.check_guards()

    def _simulate(self, task: str, batch: FloatArray) -> tuple[SegmentRun, ...]:
        self._stage(batch[0])
        runs = self._device.trace(task)
        self._finish()
        return runs

    def _profile(self, task: str, batch: FloatArray) -> tuple[StepTime, ...]:
        self._stage(batch[0])
        times = []
        for layer in self._device.program.tasks[task].layers:
            start = time.perf_counter()
            self._device.run(task, layer.step, layer.step + 1)
            seconds = time.perf_counter() - start
            times.append(StepTime(layer.step, layer.kernel, layer.origin, seconds, self._device.basis))
        self._finish()
        return tuple(times)
