"""CPU seconds of what a person tries first: help, lists, mistakes, and a look at a model and a bundle.

``python -m benchmarks.first_contact MODEL.onnx APP.edgemtl [RUNS]`` prints, for each command, the median over RUNS warm
processes of user and system time together, and its bar.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

QUICK, INSPECT = 0.5, 2.0
"""Bars in CPU seconds."""


def commands(model: str, bundle: str, verbs: list[str]) -> list[tuple[str, float]]:
    """What is tried, with its bar."""
    quick = [
        *("--help", "--version", *(f"{verb} --help" for verb in verbs)),
        *("targets list", "targets show zcu104", "doctor", f"bundle info {bundle}", "export --print-config demo"),
        *("compil", f"compile {model}", f"compile {model} -o x --tagret cpu", "bundle vrify"),
        *(f"compile {model} -o x --target zuc104", f"compile {model} -o x --threads 0", "inspect nothing.onnx"),
        *(f"compile {model} -o x --task nothing", f"compile {bundle} -o x", f"run {model} --input . -o out"),
        *(f"run {bundle} --input . -o out --task nothing", f"bench {bundle} --device nothing"),
        *("export -o x.onnx --seed 0 --preset nothing", f"eval {bundle} --data nowhere"),
    ]
    return [*((words, QUICK) for words in quick), (f"inspect {model}", INSPECT)]


def cpu_seconds(words: str, folder: str) -> float:
    """User and system time of one process that runs a command, its output thrown away."""
    before = os.times()
    command = [sys.executable, "-m", "edgemtl", *words.split()]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(model: str, bundle: str, runs: str = "3") -> None:
    """Print the table."""
    from edgemtl.cli.examples import EXAMPLES

    model, bundle = (str(Path(path).resolve()) for path in (model, bundle))
    with tempfile.TemporaryDirectory() as folder:
        for words, bar in commands(model, bundle, list(EXAMPLES)):
            cpu_seconds(words, folder)  # warms the system's file cache
            seconds = statistics.median(cpu_seconds(words, folder) for _ in range(int(runs)))
            shown = words.replace(model, Path(model).name).replace(bundle, Path(bundle).name)
            print(f"{seconds:6.2f} s  bar {bar:.1f} s  {'met' if seconds < bar else 'MISSED'}  edgemtl {shown}")


if __name__ == "__main__":
    main(*sys.argv[1:])
