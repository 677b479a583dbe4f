"""What others published of the same models, each figure with its source. Nothing here was measured by us."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

M3VIT: Final = "M3ViT, arXiv 2210.14793"
EDGE_MOE: Final = "Edge-MoE, arXiv 2305.18691"
UBIMOE: Final = "UbiMoE, arXiv 2502.05602"
COQMOE: Final = "CoQMoE, arXiv 2506.08496"
OPTIMISTIC: Final = (
    "latency fits the encoder alone, energy is 10 W flat; Edge-MoE calls it an optimistic estimation without hardware"
)
ENCODER: Final = "the encoder, no task head"
UNSAID: Final = "not said"


@dataclass(frozen=True)
class Published:
    """One row of a paper. ``model``: "tiny" or "small"; energy in mJ a frame, where ``calculated`` from watts."""

    work: str
    model: str
    device: str
    bits: str
    clock_mhz: int | None
    latency_ms: float
    energy_mj: float | None
    calculated: bool
    covers: str


PUBLISHED: Final = (
    Published(EDGE_MOE, "tiny", "ZCU102", "W16 A32", 300, 34.64, 504, True, ENCODER),
    Published(UBIMOE, "tiny", "ZCU102", "W16 A32", 300, 25.76, 296, True, ENCODER),
    Published(COQMOE, "tiny", "ZCU102", "INT8, attention 4", 300, 6.47, 63.6, True, ENCODER),
    Published(f"{M3VIT}, PASCAL", "small", "ZCU104", "not said", 300, 69.033, 690, False, OPTIMISTIC),
    Published(f"{M3VIT}, NYUD", "small", "ZCU104", "not said", 300, 84.538, 845, False, OPTIMISTIC),
    Published(f"{M3VIT}, PASCAL", "small", "RTX 8000", "not said", None, 25.239, 7446, False, UNSAID),
    Published(f"{M3VIT}, NYUD", "small", "RTX 8000", "not said", None, 27.760, 8189, False, UNSAID),
    Published(UBIMOE, "small", "U280", "W16 A32", 200, 10.33, 336, True, ENCODER),
    Published(COQMOE, "small", "U280", "INT8", 250, 9.16, 309, True, ENCODER),
)

CAVEAT: Final = (
    "Published rows are other designs, with other integers, and the encoder without a task head: compare latency and "
    "energy of like with like. GOPS of the tiny rows are those of another network, so they are left out."
)


def fitting(model: str) -> tuple[Published, ...]:
    """The rows of the model a name means: with "m3vit" and "tiny" or "small" in it; none for others."""
    words = re.split(r"[^a-z0-9]+", model.lower())
    if not any(word.startswith("m3vit") for word in words):
        return ()
    return tuple(row for row in PUBLISHED if row.model in words)
