"""Golden pairs: inputs and what the model answers to them, for a bundle's self-test."""

from edgemtl.golden.integers import make_integer_golden
from edgemtl.golden.pairs import Goldens
from edgemtl.golden.reference import make_golden

__all__ = ["Goldens", "make_golden", "make_integer_golden"]
