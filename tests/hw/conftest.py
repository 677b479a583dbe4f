"""Every test of the law draws the same numbers, alone or in any order."""

import pytest

from tests.hw import draws


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    draws.reset()
