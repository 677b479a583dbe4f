"""Patch embedding: image patches to tokens, the class token and the positions added on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.graph import (
    array_of,
    attribute,
    constant_operand,
    is_op,
    main_input,
    operand,
    result,
    shape_of,
)
from edgemtl.lowering.emit import Emitter
from edgemtl.lowering.ir import Constant, View, dense
from edgemtl.lowering.match import Group, Refusal
from edgemtl.lowering.patterns.pixels import is_pixels
from edgemtl.lowering.views import is_view, look
from edgemtl.operators import Array, PatchEmbed


@dataclass(frozen=True)
class _Embedding:
    """The convolution, the rows that stand in front of the patches (0 or 1) and what is added to every token
    [T, D].
    """

    conv: ir.Node
    leading: int
    table: Array
    nodes: tuple[ir.Node, ...]


def match_patch_embed(node: ir.Node) -> Group | Refusal | None:
    """Conv on the image with a stride equal to its kernel, without pads, flattened to tokens; optionally followed by a
    class token and positions.
    """
    embedding = _with_positions(node) or _tokens(result(node))
    if embedding is None:
        return None
    return Group("patch_embed", embedding.nodes, lambda em: _emit(em, result(node), embedding))


def _with_positions(node: ir.Node) -> _Embedding | None:
    operands = constant_operand(node) if is_op(node, "Add") else None
    if operands is None:
        return None
    positions, tokens = operands
    inner = _tokens(tokens) if len(tokens.uses()) == 1 else None
    if inner is None:
        return None
    shape = shape_of(result(node))[-2:]
    added = array_of(positions)
    assert added is not None
    if shape != inner.table.shape or added.size not in (inner.table.size, shape[-1]):
        return None
    table = inner.table + added.reshape(-1, shape[-1])
    return _Embedding(inner.conv, inner.leading, table, (node, *inner.nodes))


def _tokens(value: ir.Value) -> _Embedding | None:
    """The embedding that computes tokens [1, T, D], positions not yet added."""
    concat = value.producer()
    if concat is None or not is_op(concat, "Concat"):
        return _patches(value)
    if len(concat.inputs) != 2 or attribute(concat, "axis", 0) not in (1, -2):
        return None
    first, patches = concat.inputs
    token = array_of(first)
    inner = _patches(patches) if token is not None and patches is not None and len(patches.uses()) == 1 else None
    if token is None or inner is None or token.size != inner.table.shape[1]:
        return None
    table = np.concatenate([token.reshape(1, -1), inner.table])
    return _Embedding(inner.conv, 1, table, (concat, *inner.nodes))


def _patches(value: ir.Value) -> _Embedding | None:
    """The convolution behind views that only turn [1, D, h, w] into [1, h * w, D]."""
    chain: list[ir.Node] = []
    seen = value
    while (node := seen.producer()) is not None and is_view(node) and len(node.outputs) == 1:
        if seen is not value and len(seen.uses()) != 1:
            return None
        chain.append(node)
        before = main_input(node)
        assert before is not None
        seen = before
    conv = seen.producer()
    if conv is None or not chain or not _is_patching(conv) or len(seen.uses()) != 1 or not _are_rows(seen, chain):
        return None
    bias = array_of(operand(conv, "B"))
    _, dim, height, width = shape_of(seen)
    row = np.zeros(dim, np.float32) if bias is None else bias
    return _Embedding(conv, 0, np.tile(row, (height * width, 1)), (*chain, conv))


def _is_patching(conv: ir.Node) -> bool:
    """Whether a node is a convolution of the graph's image whose stride is its kernel, without padding or
    groups.
    """
    image = operand(conv, "X") if is_op(conv, "Conv") else None
    if image is None or not (image.is_graph_input() or is_pixels(image)):
        return False
    weight, bias = array_of(operand(conv, "W")), operand(conv, "B")
    if weight is None or weight.ndim != 4 or (bias is not None and array_of(bias) is None):
        return False
    plain = attribute(conv, "group", 1) == 1 and not any(attribute(conv, "pads", (0, 0, 0, 0)))
    plain = plain and attribute(conv, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    plain = plain and set(attribute(conv, "dilations", (1, 1))) == {1} and shape_of(image)[0] == 1
    return (
        plain and tuple(attribute(conv, "strides", (1, 1))) == weight.shape[2:] and weight.shape[2] == weight.shape[3]
    )


def _are_rows(image: ir.Value, chain: list[ir.Node]) -> bool:
    """Whether the views show the pixels [h * w, D] of an image in their own order."""
    _, dim, height, width = shape_of(image)
    seen: View | None = dense("", (1, height, width, dim)).transpose((0, 3, 1, 2))
    for node in reversed(chain):
        seen = look(node, seen)[0] if seen is not None else None
    return seen is not None and seen.is_dense and seen.shape == (1, height * width, dim)


def _emit(em: Emitter, value: ir.Value, embedding: _Embedding) -> None:
    image, weight = operand(embedding.conv, "X"), operand(embedding.conv, "W")
    kernel = array_of(weight)
    assert image is not None
    assert weight is not None
    assert kernel is not None
    _, channels, height, width = shape_of(image)
    tokens, dim = embedding.table.shape
    table = Constant(f"{weight.name}.positions", embedding.table.astype(np.float32))
    out = em.new((tokens, dim))
    embed = PatchEmbed(channels, height, width, kernel.shape[2], dim, embedding.leading)
    constants = {"weight": Constant(weight.name or "patch", kernel), "table": table}
    em.step(embed, {"image": em.dense(em.views[image]), "y": out}, constants)
    em.define_rows(value, out)
