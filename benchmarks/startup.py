"""From the start of a process to the first output of a bundle, and what each part of it costs.

``python -m benchmarks.startup APP.edgemtl [PROCESSES]`` prints medians over fresh processes, in milliseconds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

PROGRAM = """
import json, sys, time
marks = [("start", time.perf_counter())]
def mark(name): marks.append((name, time.perf_counter()))
import numpy as np; mark("import numpy")
from edgemtl.runtime import Session; mark("import edgemtl.runtime")
from edgemtl.runtime.library import load_runtime; load_runtime(); mark("import tvm_ffi, load TVM's runtime")
from edgemtl.bundle import open_bundle
open_bundle(sys.argv[1]).close(); mark("check every byte (once more than needed)")
session = Session.open(sys.argv[1]); mark("open")
image = np.zeros(session.input.shape, np.float32)
session.run(session.tasks[0], image); mark("first run")
session.run(session.tasks[0], image); mark("second run")
print(json.dumps([(name, 1e3 * (now - before)) for (_, before), (name, now) in zip(marks, marks[1:])]))
"""


def measure(bundle: str) -> dict[str, float]:
    """Milliseconds of each part in one fresh process."""
    command = [sys.executable, "-c", PROGRAM, bundle]
    parts = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return dict(parts)


def main(bundle: str, processes: str = "7") -> None:
    """Print the median of each part, and of all up to the first output without the doubled check."""
    runs = [measure(bundle) for _ in range(int(processes))]
    for name in runs[0]:
        print(f"{statistics.median(run[name] for run in runs):9.1f}  {name}")
    totals = [sum(run.values()) - run["second run"] - run["check every byte (once more than needed)"] for run in runs]
    print(f"{statistics.median(totals):9.1f}  from the interpreter's first line to the first output")


if __name__ == "__main__":
    main(*sys.argv[1:])
