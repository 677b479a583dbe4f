"""The bundle: one `.edgemtl` file that holds weights, programs and golden pairs; see docs/bundle_format.md.

Standard library and numpy only, so that a device can read it.
"""

from edgemtl.bundle.document import parse_manifest
from edgemtl.bundle.extract import extract_program
from edgemtl.bundle.fpga import FpgaProgram, FpgaTask, Handover, Host
from edgemtl.bundle.golden import Golden, crop_input, expand_input, pack_golden
from edgemtl.bundle.manifest import (
    CASES,
    PLAIN,
    SCHEMA_VERSION,
    SKEWED,
    GoldenEntry,
    InputEntry,
    Manifest,
    ModelEntry,
    MoEEntry,
    Section,
    TaskEntry,
    Tool,
)
from edgemtl.bundle.program import Layer, Output, Program, Target, TaskProgram, WeightEntry
from edgemtl.bundle.reader import Bundle, open_bundle, read_manifest
from edgemtl.bundle.segment import Rows, Segment, SegmentLayer
from edgemtl.bundle.signature import Signature, Trust, read_trust
from edgemtl.bundle.writer import sign_bundle, write_bundle
from edgemtl.records import NAME as TASK_NAME

__all__ = [
    "CASES",
    "PLAIN",
    "SCHEMA_VERSION",
    "SKEWED",
    "TASK_NAME",
    "Bundle",
    "FpgaProgram",
    "FpgaTask",
    "Golden",
    "GoldenEntry",
    "Handover",
    "Host",
    "InputEntry",
    "Layer",
    "Manifest",
    "MoEEntry",
    "ModelEntry",
    "Output",
    "Program",
    "Rows",
    "Section",
    "Segment",
    "SegmentLayer",
    "Signature",
    "Target",
    "TaskEntry",
    "TaskProgram",
    "Tool",
    "Trust",
    "WeightEntry",
    "crop_input",
    "expand_input",
    "extract_program",
    "open_bundle",
    "pack_golden",
    "parse_manifest",
    "read_manifest",
    "read_trust",
    "sign_bundle",
    "write_bundle",
]
