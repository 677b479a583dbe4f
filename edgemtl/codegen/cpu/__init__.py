"""CPU programs: every task's graph to one shared library, one weights section and one memory plan."""

from edgemtl.codegen.cpu.check import NodeReport, check, mark_refusal, name_integers, refuse
from edgemtl.codegen.cpu.compile import compile_cpu, plan_cpu
from edgemtl.codegen.cpu.program import (
    CpuProgram,
    CpuTask,
    WeightTensor,
    describe_program,
    describe_weight,
    pack_section,
    weights_section,
)

__all__ = [
    "CpuProgram",
    "CpuTask",
    "NodeReport",
    "WeightTensor",
    "check",
    "compile_cpu",
    "describe_program",
    "describe_weight",
    "mark_refusal",
    "name_integers",
    "pack_section",
    "plan_cpu",
    "refuse",
    "weights_section",
]
