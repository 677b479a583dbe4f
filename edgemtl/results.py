"""What the verbs of the compiler say when they are done: for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgemtl.codegen.compiled import TaskSummary
from edgemtl.codegen.cpu import NodeReport
from edgemtl.quantize.qdq import Distance


@dataclass(frozen=True)
class CompileResult:
    """What a compilation left; sizes in bytes. ``notes``: every default taken and everything left out.

    on_chip: of a board, by memory.
    """

    bundle: str
    bundle_bytes: int
    arena_bytes: int
    prepared_bytes: int
    weights_bytes: int
    on_chip: Mapping[str, int]
    tasks: tuple[TaskSummary, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class QuantiseResult:
    """What quantisation left; sizes in bytes. tasks: how far law, QDQ model and float model are apart, measured."""

    model: str
    parameters: str
    model_bytes: int
    parameters_bytes: int
    tasks: tuple[Distance, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; where two are equal, or one is constant, the ratio is null."""
        finite = [{k: None if v in (math.inf, -math.inf) else v for k, v in asdict(t).items()} for t in self.tasks]
        return {**asdict(self), "tasks": finite}


@dataclass(frozen=True)
class Share:
    """How many nodes run somewhere, and their multiply-accumulates."""

    where: str
    nodes: int
    macs: int


@dataclass(frozen=True)
class CheckResult:
    """A report for every node, and what it rests on."""

    nodes: tuple[NodeReport, ...]
    notes: tuple[str, ...]

    @property
    def shares(self) -> tuple[Share, ...]:
        """Nodes and multiply-accumulates by where they run, most multiply-accumulates first."""
        shares: dict[str, Share] = {}
        for node in self.nodes:
            where = "refused" if node.how == "unsupported" else node.where or "no work"
            share = shares.get(where, Share(where, 0, 0))
            shares[where] = Share(where, share.nodes + 1, share.macs + node.macs)
        return tuple(sorted(shares.values(), key=lambda share: (-share.macs, share.where)))
