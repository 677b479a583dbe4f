"""A call of a generic operator to a kernel, its result checked against the shape and type that ONNX gives it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tvm import te

from edgemtl.errors import UnsupportedError
from edgemtl.operators import Array, Signature, TensorType
from edgemtl.tvm_bridge.generic.call import Call, Loops, Refused, Tensor
from edgemtl.tvm_bridge.generic.operator import Generic
from edgemtl.tvm_bridge.generic.operators import OPERATORS
from edgemtl.tvm_bridge.generic.schedule import to_kernel
from edgemtl.tvm_bridge.kernel import Kernel, Operand, Role
from edgemtl.tvm_bridge.kernels.emit import define

HINT = "replace the operator in the model, or open an issue with its definition"


@dataclass(frozen=True)
class GenericKernel:
    """A kernel with the operands of the call it reads, by index, and the constants it reads behind them, in order."""

    operator: Generic
    inputs: tuple[int, ...]
    weights: tuple[Array, ...]


def lower_call(node: str, call: Call) -> GenericKernel:
    """The kernel of a call; equal calls give equal kernels.

    Raises UnsupportedError, which names ``node``, for an operator without a definition, for a form of one that its
    definition does not cover, for operands that do not fit it, and for a result of another shape or type than ONNX
    infers.
    """
    definition = OPERATORS.get(call.op)
    if definition is None:
        raise UnsupportedError(node, f"{call.op} has no definition", HINT)
    try:
        result = definition(call)
        call.check_attributes()
        return _loops(call, result) if isinstance(result, Loops) else _expressions(call, _listed(result))
    except Refused as refusal:
        raise UnsupportedError(node, str(refusal), HINT) from refusal
    except (ValueError, IndexError) as error:
        # Definitions take operands to be as ONNX demands; where they are not, ranks and sizes do not match.
        shapes = " and ".join(str(list(operand.shape)) for operand in call.inputs if operand is not None)
        raise UnsupportedError(node, f"{call.op} is not defined for operands of shapes {shapes}", HINT) from error


def _listed(result: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _expressions(call: Call, results: list[Tensor]) -> GenericKernel:
    """TVM's function of the results, scheduled; they may keep axes of one element that ONNX drops."""
    for result, expected in zip(results, call.outputs, strict=True):
        _check(call, TensorType(tuple(int(n) for n in result.shape), str(result.dtype)), expected)
    computed, weights, arrays = _operands(call)
    # An output that is an operand itself, or another output, is copied: a kernel writes each of its outputs.
    copied: list[Tensor] = []
    for result in results:
        known = [*computed, *weights, *copied]
        copied.append(_copy(result) if any(result.same_as(other) for other in known) else result)
    function = te.create_prim_func([*computed, *weights, *copied])
    parts: list[tuple[Role, list[Tensor]]] = [("input", computed), ("weight", weights), ("output", results)]
    roles = [role for role, tensors in parts for _ in tensors]
    return _generic(call, _with_bounds(call, to_kernel(call.op, function, roles)), arrays)


def _generic(call: Call, kernel: Kernel, arrays: tuple[Array, ...]) -> GenericKernel:
    inputs = _computed(call)
    types = Signature(
        _named(kernel, "input", [kind for index in inputs if (kind := call.inputs[index]) is not None]),
        _named(kernel, "output", call.outputs),
        _named(kernel, "weight", [TensorType(array.shape, array.dtype.name) for array in arrays]),
    )
    return GenericKernel(Generic(kernel, types, call=call, reads=inputs), inputs, arrays)


def _with_bounds(call: Call, kernel: Kernel) -> Kernel:
    """The kernel with what is known of its tables of indices: they are its last weights."""
    weights = [operand for operand in kernel.operands if operand.role == "weight"]
    tables = weights[len(weights) - len(call.tables) :]
    bounds = {operand.name: table.bounds for operand, table in zip(tables, call.tables, strict=True)}
    return replace(kernel, operands=tuple(replace(o, bounds=bounds.get(o.name)) for o in kernel.operands))


def _copy(tensor: Tensor) -> Tensor:
    return te.compute(tensor.shape, lambda *index: tensor(*index), name="copy")


def _named(kernel: Kernel, role: Role, types: Sequence[TensorType]) -> dict[str, TensorType]:
    """The types of the kernel's operands of one role, as ONNX has them, by the kernel's names."""
    names = [operand.name for operand in kernel.operands if operand.role == role]
    return dict(zip(names, types, strict=True))


def _loops(call: Call, loops: Loops) -> GenericKernel:
    computed, weights, arrays = _operands(call)
    given = [(tensor, "input") for tensor in computed] + [(tensor, "weight") for tensor in weights]
    operands = [
        Operand(f"{role}{i}", (math.prod(int(n) for n in tensor.shape),), str(tensor.dtype), role)  # type: ignore[arg-type]
        for i, (tensor, role) in enumerate(given)
    ]
    kinds = [("output", kind) for kind in call.outputs] + [("workspace", kind) for kind in loops.workspaces]
    operands += [
        Operand(f"{role}{i}", (kind.size,), kind.dtype, role)  # type: ignore[arg-type]
        for i, (role, kind) in enumerate(kinds, len(operands))
    ]
    kernel = define("kernel", operands, loops.body)
    digest = hashlib.sha256(kernel.function.script().encode()).hexdigest()[:8]
    return _generic(call, replace(kernel, symbol=f"generic_{call.op}_{digest}"), arrays)


def _computed(call: Call) -> tuple[int, ...]:
    return tuple(index for index in call.used if index not in call.constants)


def _operands(call: Call) -> tuple[list[Tensor], list[Tensor], tuple[Array, ...]]:
    """Placeholders of computed operands, then of constants, and the values of the latter."""
    known = [index for index in call.used if index in call.constants]
    weights = [call.used[index] for index in known] + [table.tensor for table in call.tables]
    arrays = (*(call.constants[index] for index in known), *(table.array for table in call.tables))
    return [call.used[index] for index in _computed(call)], weights, arrays


def _check(call: Call, result: TensorType, expected: TensorType) -> None:
    """The type of a result, and its shape up to axes of one element."""
    same = [n for n in result.shape if n != 1] == [n for n in expected.shape if n != 1]
    if not same or result.dtype != expected.dtype or math.prod(result.shape) != expected.size:
        reason = f"the definition of {call.op} gives {result.dtype}{list(result.shape)}"
        raise Refused(f"{reason} where ONNX has {expected.dtype}{list(expected.shape)}")
