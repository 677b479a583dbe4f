"""CPU programs: every task's graph to one shared library, one weights section and one memory plan."""

from edgemtl.codegen.cpu.check import NodeReport, check, mark_refusal, name_integers, refuse
from edgemtl.codegen.cpu.compile import compile_cpu, plan_cpu
from edgemtl.codegen.cpu.program import (
    CpuProgram,
    Layer,
    TaskProgram,
    WeightTensor,
    pack_section,
    to_manifest,
    weight_entry,
    weights_section,
)

__all__ = [
    "CpuProgram",
    "Layer",
    "NodeReport",
    "TaskProgram",
    "WeightTensor",
    "check",
    "compile_cpu",
    "mark_refusal",
    "name_integers",
    "pack_section",
    "plan_cpu",
    "refuse",
    "to_manifest",
    "weight_entry",
    "weights_section",
]
