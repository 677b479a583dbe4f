"""What a self-test compares: an output with the golden one."""

from __future__ import annotations

import numpy as np

from edgemtl.bundle import Golden
from edgemtl.operators import Array
from edgemtl.runtime.records import SelftestResult


def compare_golden(golden: Golden, output: Array) -> SelftestResult:
    """The elements of a task's output that the bundle stores, against these; NaN equals NaN, infinities themselves."""
    stored = output.reshape(-1)[:: golden.output_stride]
    error = largest_difference(stored, golden.output)
    scale = float(np.abs(golden.output[np.isfinite(golden.output)].astype(np.float64)).max(initial=0.0))
    passed = error <= golden.tolerance
    return SelftestResult(golden.task, golden.case, passed, error, golden.tolerance, scale, stored.size)


def largest_difference(a: Array, b: Array) -> float:
    """The largest absolute difference; infinite where a NaN or an infinity meets another value."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    difference = np.abs(a[~same].astype(np.float64) - b[~same].astype(np.float64)).max(initial=0.0)
    return float(difference) if np.isfinite(difference) else float("inf")
