"""Random integers that do not depend on which tests ran before."""

import numpy as np

RNG = np.random.default_rng()


def reset() -> None:
    """Start the stream again; the fixture in conftest.py does so before every test."""
    RNG.bit_generator.state = np.random.default_rng(13).bit_generator.state


def ints(low: int, high: int, *shape: int) -> np.ndarray:
    """Random integers from low to high, both included."""
    return RNG.integers(low, high, shape, np.int64, endpoint=True)
