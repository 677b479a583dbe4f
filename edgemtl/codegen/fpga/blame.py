"""Which ONNX node is too large for an instruction: asked only once a compilation has failed of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgemtl.codegen.fpga import networks
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import Early, FpgaProgram
from edgemtl.codegen.fpga.select import Left, select
from edgemtl.errors import BudgetError, ConfigError
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.lowering.ir import Step

Tasks = Mapping[str, Sequence[Step]]


def compile_or_blame(tasks: Tasks, spec: AcceleratorSpec, budget: int | None, early: Early) -> FpgaProgram:
    """`compile_segments`; a ConfigError names the ONNX nodes of the layer that it is about."""
    try:
        return compile_segments(tasks, spec, budget=budget, early=early)
    except ConfigError as error:
        names = ", ".join(_culprits(tasks, spec, str(error))) or "a layer"
        hint = "make the layer smaller, or compile for a CPU"
        raise ConfigError(f"{names}: no instruction of {spec.name} can hold it; {error}; {hint}") from error


def _culprits(tasks: Tasks, spec: AcceleratorSpec, message: str) -> Iterator[str]:
    """The nodes of the first group that fails alone in the same way."""
    for steps in tasks.values():
        for group in select(steps, spec.engine):
            inside = () if isinstance(group, Left) else networks.steps_of(group)
            if inside and _fails(inside, spec, message):
                yield from dict.fromkeys(step.origin[-1] for step in inside)
                return


def _fails(steps: Sequence[Step], spec: AcceleratorSpec, message: str) -> bool:
    try:
        compile_segments({"a group": steps}, spec)
    except ConfigError as error:
        return str(error) == message
    except BudgetError:
        return False
    return False
