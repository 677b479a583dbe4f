"""Operators without a kernel of ours, through TVM Relax: correct, not tuned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from edgemtl.errors import UnsupportedError
from edgemtl.tvm_bridge.kernel import Kernel, Role
from edgemtl.tvm_bridge.relax_kernels import to_kernel
from edgemtl.tvm_bridge.target import CpuTarget, tvm_target

HINT = "replace the operator in the model, or open an issue with its definition"
LEGALIZE = tvm.transform.Sequential(
    [
        relax.transform.DecomposeOpsForInference(),
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(["main"]),
    ]
)


@dataclass(frozen=True)
class FallbackStep:
    """A kernel and the value of each of its operands that is no workspace, in order."""

    kernel: Kernel
    values: tuple[str, ...]


@dataclass(frozen=True)
class FallbackPlan:
    """Steps that compute the outputs of a graph from its inputs.

    Values are named as in the ONNX graph; ``constants`` are those the steps read as weights, everything else a
    step writes and the graph does not name is an intermediate "relax.N".
    """

    steps: tuple[FallbackStep, ...]
    constants: Mapping[str, np.ndarray]


def lower_nodes(model: onnx.ModelProto, target: CpuTarget) -> FallbackPlan:
    """Steps for a graph of a few nodes with static shapes; initializers become constants.

    Raises UnsupportedError where TVM cannot import a node, or leaves a call in it that is no loop nest.
    """
    node = " and ".join(n.name or n.op_type for n in model.graph.node)
    try:
        module = from_onnx(model, keep_params_in_input=False)
        with tvm_target(target):
            module = LEGALIZE(module)
    # TVM raises errors of any kind for what it cannot do, its own and Python's.
    except Exception as error:
        raise UnsupportedError(node, f"TVM Relax cannot compile it ({_first_line(error)})", HINT) from error
    try:
        return _Reader(node, module).plan([o.name for o in model.graph.output], _inputs(model.graph))
    except ValueError as error:
        raise UnsupportedError(node, str(error), HINT) from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _inputs(graph: onnx.GraphProto) -> list[str]:
    """Names of the inputs that are no initializers, as TVM takes them."""
    held = {tensor.name for tensor in graph.initializer}
    return [value.name for value in graph.input if value.name not in held]


@dataclass
class _Reader:
    """Reads the calls of a legalised module; ``names`` are the values of Relax variables."""

    node: str
    module: tvm.IRModule
    names: dict[Any, tuple[str, ...]] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    intermediates: int = 0

    def plan(self, outputs: Sequence[str], inputs: Sequence[str]) -> FallbackPlan:
        main = self.module["main"]
        self.names = {p: (name,) for p, name in zip(main.params, inputs, strict=True)}
        bindings = [binding for block in main.body.blocks for binding in block.bindings]
        made = list(self._steps(bindings))
        results = self._of(main.body.body)
        renamed = dict(zip(results, outputs, strict=True))
        known = {value for _, values, writes in made for value in values[-writes:]}
        if len(renamed) < len(outputs) or not renamed.keys() <= known:
            raise ValueError("an output must be computed, not an input, a constant or another output")
        steps = (FallbackStep(kernel, tuple(renamed.get(v, v) for v in values)) for kernel, values, _ in made)
        return FallbackPlan(tuple(steps), self.constants)

    def _steps(self, bindings: Sequence[Any]) -> Iterator[tuple[Kernel, tuple[str, ...], int]]:
        """Kernel, values and how many of them are outputs, which are the last."""
        for binding in bindings:
            value = binding.value
            if isinstance(value, relax.Call):
                kernel, values, outputs = self._call(value)
                self.names[binding.var] = values[-outputs:]
                yield kernel, values, outputs
            else:
                self.names[binding.var] = self._of(value)

    def _call(self, call: relax.Call) -> tuple[Kernel, tuple[str, ...], int]:
        if call.op != tvm.ir.Op.get("relax.call_tir"):
            name = call.op.name if isinstance(call.op, tvm.ir.Op) else "a function"
            raise ValueError(f"TVM Relax runs it by {name}, not by loops")
        function = self.module[call.args[0]]
        arguments = [name for argument in call.args[1].fields for name in self._of(argument)]
        outputs = len(function.params) - len(arguments)
        results = [self._new() for _ in range(outputs)]
        roles: list[Role] = ["weight" if a in self.constants else "input" for a in arguments]
        roles += ["output" for _ in results]
        return to_kernel(call.args[0].name_hint, function, roles), (*arguments, *results), outputs

    def _new(self) -> str:
        self.intermediates += 1
        return f"relax.{self.intermediates - 1}"

    def _of(self, value: Any) -> tuple[str, ...]:
        """The names of what an expression holds."""
        if isinstance(value, relax.Tuple):
            return tuple(name for part in value.fields for name in self._of(part))
        if isinstance(value, relax.TupleGetItem):
            return (self._of(value.tuple_value)[value.index],)
        if isinstance(value, tvm.ir.GenericConst):
            name = f"constant.{len(self.constants)}"
            self.constants[name] = value.value.numpy()
            return (name,)
        if value not in self.names:
            raise ValueError(f"TVM Relax leaves {type(value).__name__}, not a call of loops")
        return self.names[value]
