"""A program run in memory that ends at forbidden pages: whatever touches more than its space dies of a signal."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
from collections.abc import Callable

import numpy as np

from edgemtl.codegen.cpu import CpuProgram
from tests.codegen import harness

libc = ctypes.CDLL(None, use_errno=True)


def guarded(size: int, fill: int = 0) -> np.ndarray:
    """Bytes at a 64-byte aligned address whose last is less than 64 bytes in front of a page without rights."""
    room = -(-max(size, 1) // harness.ALIGNMENT) * harness.ALIGNMENT
    pages = -(-room // mmap.PAGESIZE) + 1
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
    whole = np.frombuffer(memory, np.uint8)
    last = whole.ctypes.data + (pages - 1) * mmap.PAGESIZE
    if libc.mprotect(ctypes.c_void_p(last), ctypes.c_size_t(mmap.PAGESIZE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    start = (pages - 1) * mmap.PAGESIZE - room
    view = whole[start : start + size]
    view[:] = fill
    return view


def run_guarded(program: CpuProgram, task: str, image: np.ndarray) -> np.ndarray | int:
    """The task's output, or the signal that ended the run."""
    return _in_a_child(lambda: _run(program, task, image))


def _run(program: CpuProgram, task: str, image: np.ndarray) -> np.ndarray:
    harness.aligned = guarded  # in this child alone
    return harness.Machine(program).run(task, image)


def _in_a_child(work: Callable[[], np.ndarray]) -> np.ndarray | int:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: (sender.send(work()), sender.close(), os._exit(0)))
    process.start()
    sender.close()
    try:
        result: np.ndarray | int = receiver.recv()
    except EOFError:
        process.join()
        return process.exitcode or 1
    process.join()
    return result
