"""Quantisation: a task's float steps to integer steps, with scales from calibration images, by the law of `hw`."""

from edgemtl.quantize.build import IntegerTask, Island
from edgemtl.quantize.images import check_images
from edgemtl.quantize.parameters import Parameters, read_parameters, tasks_with, write_parameters
from edgemtl.quantize.quantise import apply, calibrate

__all__ = [
    "IntegerTask",
    "Island",
    "Parameters",
    "apply",
    "calibrate",
    "check_images",
    "read_parameters",
    "tasks_with",
    "write_parameters",
]
