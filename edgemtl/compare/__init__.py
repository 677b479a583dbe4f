"""Comparison: two ways to run one task side by side, layer by layer, under the names of the ONNX nodes."""

from edgemtl.compare.comparison import Comparison, Limits, Pair, compare_sides
from edgemtl.compare.figures import LayerFigures, RouterFigures
from edgemtl.compare.parting import first_apart
from edgemtl.compare.prepare import check_inputs, make_integers, tasks_needed
from edgemtl.compare.reading import Reading, Routing, Side
from edgemtl.compare.sides import make_pair, make_side
from edgemtl.compare.watched import WatchModules

__all__ = [
    "Comparison",
    "LayerFigures",
    "Limits",
    "Pair",
    "Reading",
    "RouterFigures",
    "Routing",
    "Side",
    "WatchModules",
    "check_inputs",
    "compare_sides",
    "first_apart",
    "make_integers",
    "make_pair",
    "make_side",
    "tasks_needed",
]
