"""Imported by Python as a process starts: a process that a test starts takes the same processor for its own."""

import importlib.util
import os
from pathlib import Path

if importlib.util.find_spec("edgemtl") is not None:
    from edgemtl import processor

    processor.CPU_INFO = Path(os.environ["EDGEMTL_TESTS_CPU_INFO"])
