"""The bundle: one `.edgemtl` file that holds weights, programs and golden pairs; see docs/bundle_format.md.

Standard library and numpy only, so that a device can read it.
"""

from edgemtl.bundle.checks import check_manifest
from edgemtl.bundle.document import parse_manifest
from edgemtl.bundle.extract import extract_program
from edgemtl.bundle.fpga import HOST_CONSTANTS, FpgaProgram, FpgaTask, Handover, Host, LeftStep
from edgemtl.bundle.golden import Golden, StoredInput, crop_input, expand_input, pack_golden
from edgemtl.bundle.inputs import InputType, draw_frame, draw_input, input_bytes, input_layout
from edgemtl.bundle.manifest import (
    CASES,
    PLAIN,
    SCHEMA_VERSION,
    SKEWED,
    WEIGHTS,
    GoldenEntry,
    GoldenInput,
    InputEntry,
    Manifest,
    ModelEntry,
    MoEEntry,
    Section,
    TaskEntry,
    Tool,
)
from edgemtl.bundle.program import (
    CPU_LIBRARY,
    INDICES,
    OFFSETS,
    VALUES,
    Layer,
    Output,
    Program,
    Target,
    TaskProgram,
    WeightEntry,
)
from edgemtl.bundle.reader import Bundle, open_bundle, read_manifest
from edgemtl.bundle.segment import ChipBuffer, Region, Routing, Rows, Segment, SegmentLayer, Windows
from edgemtl.bundle.signature import Signature, Trust, read_trust
from edgemtl.bundle.writer import sign_bundle, write_bundle
from edgemtl.records import NAME as TASK_NAME

__all__ = [
    "CASES",
    "CPU_LIBRARY",
    "HOST_CONSTANTS",
    "INDICES",
    "OFFSETS",
    "PLAIN",
    "SCHEMA_VERSION",
    "SKEWED",
    "TASK_NAME",
    "VALUES",
    "WEIGHTS",
    "Bundle",
    "ChipBuffer",
    "FpgaProgram",
    "FpgaTask",
    "Golden",
    "GoldenEntry",
    "GoldenInput",
    "Handover",
    "Host",
    "InputEntry",
    "InputType",
    "Layer",
    "LeftStep",
    "Manifest",
    "MoEEntry",
    "ModelEntry",
    "Output",
    "Program",
    "Region",
    "Routing",
    "Rows",
    "Section",
    "Segment",
    "SegmentLayer",
    "Signature",
    "StoredInput",
    "Target",
    "TaskEntry",
    "TaskProgram",
    "Tool",
    "Trust",
    "WeightEntry",
    "Windows",
    "check_manifest",
    "crop_input",
    "draw_frame",
    "draw_input",
    "expand_input",
    "extract_program",
    "input_bytes",
    "input_layout",
    "open_bundle",
    "pack_golden",
    "parse_manifest",
    "read_manifest",
    "read_trust",
    "sign_bundle",
    "write_bundle",
]
