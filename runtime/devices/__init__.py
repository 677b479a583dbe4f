"""The devices a session can run on, each imported only when it is asked for."""

from __future__ import annotations

from typing import Protocol

from edgemtl.bundle import Bundle, FpgaProgram, Program
from edgemtl.errors import UnsupportedError, UsageError
from edgemtl.operators import Array
from edgemtl.runtime.buffers import Bytes
from edgemtl.runtime.records import Memory, SegmentRun

DEVICES = ("cpu", "sim", "rtl", "zcu104")
SIMULATOR = "sim"


class Device(Protocol):
    """A program in its memory, driven from one thread.

    ``sections``: the names of the bundle's sections of weights that it reads while it runs.
    ``inputs[name]`` is what a run reads, ``outputs[task]`` what it writes; both stay where they are. ``basis``: what
    times taken here are, "measured" or of a "simulator".
    """

    sections: tuple[str, ...]
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    basis: str

    @property
    def program(self) -> Program:
        """The steps of every task."""

    def start(self) -> None:
        """Check the program's sizes and make what is made once, such as prepared weights.

        Raises ConfigError where the manifest states other sizes than the program was compiled for.
        """

    def run(self, task: str, begin: int, end: int) -> None:
        """Run steps ``begin <= i < end`` of a task."""

    def trace(self, task: str) -> tuple[SegmentRun, ...]:
        """Run a whole task and tell what each segment did. Raises UnsupportedError where there are none."""

    def poison(self) -> None:
        """Fill the working memory with NaN."""

    def check_guards(self) -> None:
        """Raise IntegrityError where the program wrote outside its memory."""

    def prepared(self) -> Bytes:
        """What `start` made of the weights, uint8, to be looked at again: it must not change."""

    def memory(self) -> Memory:
        """Bytes held."""

    def close(self) -> None:
        """Let go of everything; may be called twice."""


def open_device(name: str, bundle: Bundle, check_arena: bool = False, native_host: bool = False) -> Device:
    """The device ``name`` with the bundle's program; ``check_arena``: a simulator looks for hazards too.

    native_host: a simulator runs the steps of the board's CPU in the bundle's library, not in numpy.

    Raises UsageError, or UnsupportedError where the bundle has no program for it or nothing drives it yet.
    """
    if name not in DEVICES:
        raise UsageError(f"device must be one of {', '.join(DEVICES)}, not {name!r}")
    program = bundle.manifest.program
    if native_host and not (isinstance(program, FpgaProgram) and name == SIMULATOR):
        raise UsageError(f"native_host must go with a board's bundle on device {SIMULATOR!r}, not with {name!r}")
    if isinstance(program, FpgaProgram):
        return _open_fpga(name, bundle, program, check_arena, native_host)
    if name != "cpu":
        raise _no_program(name, "cpu", "cpu")
    from edgemtl.runtime.devices.cpu import CpuDevice

    library, weights = bundle.member(program.library), bundle.weights()
    return CpuDevice(program, library, weights, bundle.manifest.inputs)


def _open_fpga(name: str, bundle: Bundle, program: FpgaProgram, check_arena: bool, native_host: bool) -> Device:
    if name == "cpu":
        raise _no_program(name, f"the FPGA of {program.board.name}", SIMULATOR)
    if name != SIMULATOR:
        raise UnsupportedError(f"device {name}", "there is no driver for it yet", f"open it with device={SIMULATOR!r}")
    from edgemtl.runtime.devices.sim import SimDevice

    return SimDevice(bundle, program, check_arena, native_host)


def _no_program(name: str, program: str, device: str) -> UnsupportedError:
    reason = f"this bundle holds no program for it, only one for {program}"
    return UnsupportedError(f"device {name}", reason, f"open it with device={device!r}")
