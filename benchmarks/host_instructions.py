"""Instructions that a program for a Cortex-A53 executes, step by step: ``python -m benchmarks.host_instructions``.

It takes a bundle for cpu-a53 compiled with one thread, runs it under qemu-aarch64 up to each step, and prints the
differences; `edgemtl.profiling.host_cycles` has coefficients from such figures. Needs what `edgemtl doctor` lists for
emulation, and gcc for a plugin of qemu (count_instructions.c).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from edgemtl.bundle import Program, extract_program, open_bundle
from edgemtl.emulation import find_emulator, native_runner

PLUGIN = Path(__file__).with_name("count_instructions.c")


@dataclass(frozen=True)
class Counts:
    """Executed instructions: those that load or store 16 bytes are ``wide``, those with more ``wider``."""

    other: int
    wide: int
    wider: int

    @property
    def cycles(self) -> int:
        """Cycles of one core as the time model counts them."""
        return self.other + 2 * self.wide + 4 * self.wider

    def minus(self, before: Counts) -> Counts:
        """What was executed since."""
        return Counts(*(a - b for a, b in zip(astuple(self), astuple(before), strict=True)))


def count_steps(bundle: Path, task: str) -> Iterator[tuple[str, Counts]]:
    """Kernel and counts of every step of a task, on random inputs."""
    with (
        tempfile.TemporaryDirectory(prefix="edgemtl-") as name,
        open_bundle(bundle) as opened,
        native_runner(find_emulator("aarch64")) as runner,
    ):
        folder, program = Path(name), opened.manifest.program
        assert isinstance(program, Program)
        extract_program(opened, folder)
        plugin = build_plugin(folder)
        words = []
        for index, entry in enumerate(opened.manifest.inputs):
            values = np.random.default_rng(index).integers(0, 256, entry.shape).astype(entry.dtype)
            np.save(folder / f"{index}.npy", values)
            words.append(f"{entry.name}={folder / f'{index}.npy'}")
        # One thread: others would wait by counting, for as long as this machine is slow.
        emulation = ["-E", "TVM_NUM_THREADS=1", "-plugin", str(plugin), "-d", "plugin"]
        command = [runner[0], *emulation, *runner[1:], name, ",".join(words), name]
        described = (folder / "program.txt").read_text()
        before = _count(folder, described, task, 0, command)
        for layer in program.tasks[task].layers:
            executed = _count(folder, described, task, layer.step + 1, command)
            yield layer.kernel, executed.minus(before)
            before = executed


def build_plugin(folder: Path) -> Path:
    """The plugin for this machine's qemu."""
    library = folder / "count_instructions.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", str(PLUGIN), "-o", str(library)], check=True)
    return library


def _count(folder: Path, described: str, task: str, steps: int, command: Sequence[str]) -> Counts:
    """What the first ``steps`` steps execute: a run of two rounds less one of one."""
    lines = [_shortened(line, task, steps) for line in described.splitlines()]
    (folder / "program.txt").write_text("\n".join(lines) + "\n")
    once, twice = (_executed([*command, rounds, task]) for rounds in ("1", "2"))
    return twice.minus(once)


def _shortened(line: str, task: str, steps: int) -> str:
    words = line.split(" ")
    return " ".join([*words[:4], str(steps), *words[5:]]) if words[:2] == ["task", task] else line


def _executed(command: Sequence[str]) -> Counts:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("executed ")]
    return Counts(*map(int, line.split()[1:]))


def main() -> None:
    """Print the counts of a task's steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("task")
    args = parser.parse_args()
    print("cycles other wide wider kernel")
    for kernel, counts in count_steps(args.bundle, args.task):
        print(counts.cycles, *astuple(counts), kernel)


if __name__ == "__main__":
    main()
