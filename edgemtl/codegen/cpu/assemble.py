"""Kernels, weights and offsets to calls, and calls to exported functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgemtl.codegen.cpu.binding import BoundStep
from edgemtl.codegen.cpu.families import pack
from edgemtl.codegen.cpu.weights import WeightStore
from edgemtl.lowering.ir import View, space_of
from edgemtl.processor import CpuTarget
from edgemtl.schedule import Access, check_accesses
from edgemtl.tvm_bridge.build import WEIGHTS_WORDS, Argument, KernelCall
from edgemtl.tvm_bridge.kernel import Operand


@dataclass
class Assembler:
    """Turns bound steps into calls; weights are packed and stored on the way, once per content."""

    target: CpuTarget
    offsets: Mapping[str, int]
    weights: WeightStore = field(default_factory=WeightStore)
    _packed: dict[object, tuple[int, ...]] = field(default_factory=dict)

    def call(self, bound: BoundStep) -> KernelCall:
        """The call of a step: each operand of its kernel in its place."""
        weights = (Argument("weights", offset) for offset in self._weights(bound))
        workspaces = (Argument("arena", self.offsets[buffer.name]) for buffer in bound.workspaces)

        def place(operand: Operand) -> Argument:
            match operand.role:
                case "weight":
                    return next(weights)
                case "weights_space":
                    return Argument("weights", 0)
                case "weights_words":
                    return Argument(WEIGHTS_WORDS, 0)
                case "workspace":
                    return next(workspaces)
                case _:
                    return self._place(bound.step[operand.name])

        return KernelCall(bound.kernel, tuple(map(place, bound.kernel.operands)))

    def _place(self, view: View) -> Argument:
        return Argument(space_of(view.buffer), self.offsets.get(view.buffer, 0) + view.offset_bytes)

    def _weights(self, bound: BoundStep) -> tuple[int, ...]:
        """Offsets of the packed weights, in the order of the kernel's weight operands."""
        step = bound.step
        key = step.operator, tuple(constant.key for constant in step.constants)
        if key not in self._packed:
            self._packed[key] = tuple(pack(step, self.target, self.weights))
            check_accesses(self._accesses(bound, self._packed[key]))
            for operand, offset in zip(bound.operands("weight"), self._packed[key], strict=True):
                if operand.bounds is not None:
                    self.weights.bound(offset, operand.bounds)
        return self._packed[key]

    def _accesses(self, bound: BoundStep, offsets: Sequence[int]) -> Iterator[Access]:
        """Each weight operand, with the bytes of the tensor it is given."""
        sizes = {tensor.offset: tensor.array.nbytes for tensor in self.weights.tensors}
        for operand, offset in zip(bound.operands("weight"), offsets, strict=True):
            yield Access(bound.kernel.symbol, operand.name, operand.bytes, sizes[offset])
