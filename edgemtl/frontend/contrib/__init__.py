"""Operators that onnxruntime puts into the models it optimises, written out as standard operators."""

from edgemtl.frontend.contrib.call import CONTRIBUTED_HINT
from edgemtl.frontend.contrib.expand import expand_contributed, expand_integer, expand_standard, is_contributed
from edgemtl.frontend.contrib.quantised import expand_quantised

__all__ = [
    "CONTRIBUTED_HINT",
    "expand_contributed",
    "expand_integer",
    "expand_quantised",
    "expand_standard",
    "is_contributed",
]
