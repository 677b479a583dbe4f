"""The quantised tasks as one QDQ ONNX, for exchange with other tools, and how far it is from the law."""

from edgemtl.quantize.qdq.distance import Distance, measure_distances
from edgemtl.quantize.qdq.files import Files, plan_files, write_both
from edgemtl.quantize.qdq.model import QUANTISED, Origin, make_qdq

__all__ = [
    "QUANTISED",
    "Distance",
    "Files",
    "Origin",
    "make_qdq",
    "measure_distances",
    "plan_files",
    "write_both",
]
