"""Equal tensors become one object, so that tasks share bytes all the way down."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import onnx_ir as ir


class ContentKeys:
    """Digest of a tensor's type, shape and bytes; each tensor object is read once."""

    def __init__(self) -> None:
        # The tensor is kept beside its key: an id is only its own as long as the object lives.
        self._known: dict[int, tuple[ir.TensorProtocol, bytes]] = {}

    def __call__(self, tensor: ir.TensorProtocol) -> bytes:
        if id(tensor) not in self._known:
            head = f"{tensor.dtype} {tuple(tensor.shape.numpy())}".encode()
            self._known[id(tensor)] = tensor, hashlib.sha256(head + tensor.tobytes()).digest()
        return self._known[id(tensor)][1]


def share_tensors(models: Iterable[ir.Model]) -> None:
    """Let initializers of equal content hold the same tensor across the models. In place."""
    keys, first = ContentKeys(), dict[bytes, ir.TensorProtocol]()
    for model in models:
        for value in model.graph.initializers.values():
            if value.const_value is not None:
                value.const_value = first.setdefault(keys(value.const_value), value.const_value)
