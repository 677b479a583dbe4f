"""The rows of layers: cycles, bytes and stalls of each, summed over its instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.report.look import group_ticks
from edgemtl.report.profile.facts import LayerFacts, SegmentFacts
from edgemtl.report.profile.parts import InstructionSpan, LayerProfile

AHEAD: Final = ("weights", "data")
"""Units that fetch for a layer while the one before it runs."""
KINDS: Final = ("weights", "load", "store")


def make_layers(
    segments: Sequence[SegmentFacts], spans: Sequence[InstructionSpan], spec: AcceleratorSpec
) -> tuple[LayerProfile, ...]:
    """One row for each layer of each segment, in order."""
    placed = [(index, layer) for index, spans_of_layer in enumerate(segments) for layer in spans_of_layer.layers]
    labels = label_layers([layer for _, layer in placed])
    own: list[list[InstructionSpan]] = [[] for _ in placed]
    for span in spans:
        own[span.layer].append(span)
    matrix = max(sum(span.busy for span in spans if span.unit == "matrix"), 1)
    return tuple(
        _layer(
            label,
            segment,
            layer,
            spans_of_layer,
            _traffic(spans_of_layer, segments),
            matrix,
            spec.engine.macs_per_cycle,
        )
        for label, (segment, layer), spans_of_layer in zip(labels, placed, own, strict=True)
    )


def label_layers(layers: Sequence[LayerFacts]) -> list[str]:
    """A label for each layer, its place in the model and its kind: "blocks.3 attention"; repeated ones are numbered."""
    plain = []
    for layer in layers:
        ticks = group_ticks(layer.origin[:1])
        plain.append(f"{ticks[0][1]} {layer.name}" if ticks else layer.name)
    seen: Counter[str] = Counter()
    labels = []
    for label in plain:
        seen[label] += 1
        labels.append(f"{label} {seen[label]}" if seen[label] > 1 else label)
    return labels


def _traffic(spans: Sequence[InstructionSpan], segments: Sequence[SegmentFacts]) -> dict[str, int]:
    traffic = dict.fromkeys(KINDS, 0)
    for span in spans:
        if span.bytes:
            traffic[segments[span.segment].instructions[span.instruction].kind] += span.bytes
    return traffic


def _layer(
    label: str,
    segment: int,
    layer: LayerFacts,
    spans: Sequence[InstructionSpan],
    traffic: Mapping[str, int],
    matrix: int,
    peak: int,
) -> LayerProfile:
    busy = sum(span.busy for span in spans if span.unit == "matrix")
    inside = [span for span in spans if span.unit not in AHEAD] or spans
    moved = sum(traffic.values())
    return LayerProfile(
        label=label,
        name=layer.name,
        origin=layer.origin,
        segment=segment,
        instructions=len(spans),
        macs=layer.macs,
        start=min((span.start for span in inside), default=0),
        end=max((span.end for span in inside), default=0),
        matrix_busy=busy,
        matrix_share=busy / matrix,
        utilisation=layer.macs / (busy * peak) if busy else 0.0,
        traffic=traffic,
        intensity=layer.macs / moved if moved else None,
        stalls=_stalls(spans),
    )


def _stalls(spans: Sequence[InstructionSpan]) -> dict[str, dict[str, int]]:
    stalls: dict[str, dict[str, int]] = {}
    for span in spans:
        for reason, cycles in span.stalls.items():
            unit = stalls.setdefault(span.unit, {})
            unit[reason] = unit.get(reason, 0) + cycles
    return stalls
