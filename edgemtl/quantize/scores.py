"""The tensors of scores, which a softmax tells apart only near a row's largest."""

from __future__ import annotations

from edgemtl.quantize.norms import readers
from edgemtl.quantize.tensors import Tensor, wide
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic

BELOW_PEAK = 16.0
"""Nats below the least row's largest score that 16 bits reach: weights there are below 2^-23 of the largest."""


def scores(writer: Writer, softmax: int) -> Tensor:
    """16 bits for the scores that a softmax reads, at the index of a float step.

    Masks may be infinite: only what lies near the rows' largest matters, and the rest saturates.
    """
    peak = writer.observed(f"{softmax}.peak")
    return wide(max(peak.high, BELOW_PEAK - peak.low), writer.name)


def masked(writer: Writer) -> Tensor:
    """The tensor of a sum: of masked scores as far as their softmax tells them apart, where the model gives none."""
    if writer.own_result is not None:
        return writer.output_tensor()
    reading = readers(writer.float_steps, writer.index)
    indices = [i for i, step in enumerate(writer.float_steps) if any(step is reader for reader in reading)]
    operators = [writer.float_steps[i].operator for i in indices]
    if not all(isinstance(o, Generic) and o.call.op == "Softmax" for o in operators) or "final" in writer.result_needs:
        return writer.output_tensor()
    tensors = [scores(writer, index) for index in indices]
    if not tensors or not max(t.scale for t in tensors) < wide(writer.range("all").reach, writer.name).scale:
        return writer.output_tensor()
    return max(tensors, key=lambda tensor: tensor.scale)
