"""Gives inputs to a surface one by one in a forked child, and says how each went: within limits, and typed, or not."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgemtl.errors import EdgemtlError

HANG_SECONDS = 30.0
MOST_ADDRESSES = 12 << 30
"""Of a child's memory: what asks for more gets a MemoryError, and this machine goes on."""
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Surface:
    """Something that takes inputs from outside.

    prepare: given a folder of its own, returns what is done with the input of a seed; that returns a word on what
    came of it, and raises what the product raises.
    seconds, mib: processor time and memory that an input may cost; ``stated`` says why more than 1 s and 512 MiB.
    """

    name: str
    prepare: Callable[[Path], Callable[[int], str]]
    seconds: float = 1.0
    mib: int = 512
    stated: str = ""


@dataclass(frozen=True)
class Outcome:
    """What an input led to.

    kind: "taken", "refused" (a typed error), "untyped", "crash" or "hang". text: the error. seconds: of the
    processor. mib: by how much the child's memory grew.
    """

    seed: int
    kind: str
    text: str
    seconds: float
    mib: int

    def fault(self, surface: Surface) -> str | None:
        """What is wrong with it, or None."""
        if self.kind not in ("taken", "refused"):
            return self.kind
        if self.seconds > surface.seconds:
            return f"more than {surface.seconds:g} s"
        return f"more than {surface.mib} MiB" if self.mib > surface.mib else None


def judge(surface: Surface, folder: Path, first: int, count: int, seconds: float) -> Iterator[Outcome]:
    """The outcomes of ``count`` seeds from ``first`` on, as many as fit into ``seconds``."""
    folder.mkdir(parents=True, exist_ok=True)
    act = surface.prepare(folder)
    end, seed = time.monotonic() + seconds, first
    while seed < first + count and time.monotonic() < end:
        reader, child = _fork(act, range(seed, first + count))
        try:
            for outcome in _follow(reader, child, seed):
                yield outcome
                seed = outcome.seed + 1
                if time.monotonic() > end:
                    break
        finally:
            os.close(reader)
            _end(child)


def _fork(act: Callable[[int], str], seeds: range) -> tuple[int, int]:
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.close(writer)
        return reader, child
    code = 1
    try:
        _work(act, seeds, writer)
        code = 0
    finally:
        os._exit(code)


def _end(child: int) -> int:
    """The signal that ended a child, which is ended if it was not; 0 where it went by itself."""
    try:
        os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except (ChildProcessError, ProcessLookupError):
        return 0


def _work(act: Callable[[int], str], seeds: range, writer: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    for seed in seeds:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before, start = _status("VmRSS"), time.process_time()
        kind, text = _act(act, seed)
        grown = max(0, _status("VmHWM") - before)
        data = pickle.dumps(Outcome(seed, kind, text, time.process_time() - start, grown))
        os.write(writer, _LENGTH.pack(len(data)) + data)


def _act(act: Callable[[int], str], seed: int) -> tuple[str, str]:
    try:
        return "taken", act(seed)
    except EdgemtlError as error:
        return "refused", f"{type(error).__name__}: {error}"[:300]
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        return "untyped", f"{type(error).__name__}: {str(error)[:150]} @ {where}"


def _status(key: str) -> int:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(key))


def _follow(reader: int, child: int, seed: int) -> Iterator[Outcome]:
    """A child's outcomes; where it dies or hangs, an outcome for the seed it was at is the last."""
    try:
        while True:
            (length,) = _LENGTH.unpack(_read(reader, _LENGTH.size))
            outcome: Outcome = pickle.loads(_read(reader, length))
            yield outcome
            seed = outcome.seed + 1
    except TimeoutError:
        yield Outcome(seed, "hang", f"no end within {HANG_SECONDS:g} s", HANG_SECONDS, 0)
    except EOFError:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            yield Outcome(seed, "crash", signal.Signals(-status).name if status < 0 else f"exit {status}", 0.0, 0)


def _read(reader: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        if not select.select([reader], [], [], HANG_SECONDS)[0]:
            raise TimeoutError
        parts.append(os.read(reader, size))
        if not parts[-1]:
            raise EOFError
        size -= len(parts[-1])
    return b"".join(parts)
