"""Ten minutes of switches, batches, refusals and reopened sessions leave nothing behind."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import InputError
from edgemtl.runtime import Session
from tests.runtime.programs import WEIGHTS, expected, picture

TASKS = tuple(WEIGHTS)
SECONDS = 600
GROWTH_BYTES = 5 << 20


def _round(bundle: Path) -> None:
    """One life of a session; every output is checked."""
    image, bad = picture(1), np.full_like(picture(1), np.nan)
    with Session.open(bundle) as session:
        for count in range(50):
            task = TASKS[count % 3]
            np.testing.assert_array_equal(session.run(task, image), expected(task, image))
        session.run(TASKS, picture(2, frames=3))
        session.profile("depth", image)
        with pytest.raises(InputError):
            session.run("depth", bad)
        assert all(result.passed for result in session.selftest())


def _held() -> tuple[int, int]:
    """Resident bytes and open files of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_soak(bundle: Path) -> None:
    for _ in range(50):
        _round(bundle)
    bytes_before, files_before = _held()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        _round(bundle)
    bytes_after, files_after = _held()
    assert bytes_after - bytes_before <= GROWTH_BYTES
    assert files_after == files_before
