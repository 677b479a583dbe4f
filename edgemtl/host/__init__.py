"""What the CPU beside an accelerator computes, step by step in numpy: a simulation needs no native code for it."""

from edgemtl.host.operators import OPERATORS, run_operator
from edgemtl.host.steps import BUFFER_DTYPES, INPUT, NATIVE, OUTPUT, SEGMENT, HostStep, HostView, read_step

__all__ = [
    "BUFFER_DTYPES",
    "INPUT",
    "NATIVE",
    "OPERATORS",
    "OUTPUT",
    "SEGMENT",
    "HostStep",
    "HostView",
    "read_step",
    "run_operator",
]
