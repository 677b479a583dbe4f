"""The weights section: packed tensors, each stored once however many tasks and steps use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgemtl.codegen.cpu.program import WeightTensor
from edgemtl.lowering.ir import ALIGNMENT, Constant
from edgemtl.operators import Array


@dataclass
class WeightStore:
    """Packed tensors by content. ``add`` gives the offset of a tensor in the section, in bytes."""

    tensors: list[WeightTensor] = field(default_factory=list)
    _offsets: dict[str, int] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the section so far."""
        return _aligned(self.tensors[-1].offset + self.tensors[-1].array.nbytes) if self.tensors else 0

    def add(self, name: str, array: Array) -> int:
        """Store an array unless one with the same type, shape and bytes is there; its offset in bytes."""
        constant = Constant(name, np.ascontiguousarray(array))
        if constant.key not in self._offsets:
            self._offsets[constant.key] = self.size
            self.tensors.append(WeightTensor(self._unique(name), self.size, constant.array))
        return self._offsets[constant.key]

    def add_offsets(self, name: str, offsets: Sequence[int]) -> int:
        """Store the places of tensors as int32 counts of float32 elements; its own offset in bytes."""
        at = self.add(name, np.array([offset // 4 for offset in offsets], np.int32))
        self._describe(at, lambda tensor: replace(tensor, role="offsets", bounds=None))
        return at

    def bound(self, offset: int, bounds: tuple[int, int]) -> None:
        """Say that the tensor at ``offset`` holds indices from the first to the last of ``bounds``."""

        def narrowed(tensor: WeightTensor) -> WeightTensor:
            low, high = tensor.bounds or bounds
            return replace(tensor, role="indices", bounds=(max(low, bounds[0]), min(high, bounds[1])))

        self._describe(offset, narrowed)

    def _describe(self, offset: int, change: Callable[[WeightTensor], WeightTensor]) -> None:
        self.tensors = [change(tensor) if tensor.offset == offset else tensor for tensor in self.tensors]

    def _unique(self, name: str) -> str:
        """The name, with a number behind it where other content has taken it."""
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
