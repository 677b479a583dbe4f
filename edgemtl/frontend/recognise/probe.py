"""Is a region a mixture of experts? Run it in onnxruntime and compare with the definition, token by token.

The structure of a graph only proposes; what it computes decides. The whole region is asked for each expert, and for
some tokens of random routing. With thin experts, which cost little, it is asked for all tokens of every trial.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgemtl.frontend.moe_node import ACTIVATIONS, MoEAttributes
from edgemtl.frontend.recognise.experts import ExpertStack, NotRecognisedError
from edgemtl.frontend.recognise.mixture import hidden_of, mix, outputs_of
from edgemtl.frontend.recognise.region import ExpertChoice
from edgemtl.frontend.recognise.run import Region, Run, nodes_between, region_runner
from edgemtl.frontend.recognise.thin import thin
from edgemtl.frontend.recognise.trials import Sizes, Trial, balanced, certain_trials, draw_trials
from edgemtl.graph import array_of

TOLERANCE = 2e-5
"""Of a token's magnitude; the two forms of GELU differ by more."""
WHOLE_ROWS = 64
"""Tokens of random routing that the whole region is compared for."""
MAGNITUDES = (1.0, 2.0**10, 2.0**-10)
"""Of the tokens each expert is asked with."""
REPEATS = 4
"""How often each is."""


@dataclass(frozen=True)
class Mixture:
    """What a region was found to be: its attributes, and which of the experts each column of the logits picks."""

    attributes: MoEAttributes
    order: tuple[int, ...]


def probe(router: ExpertChoice, experts: ExpertStack, end: ir.Value, opset: int) -> Mixture:
    """The mixture the region from tokens and logits to `end` computes; `NotRecognisedError` if it is another thing."""
    nodes = tuple(nodes_between(router.logits, experts.x, end))
    region = Region(nodes, experts.x, router.logits, end, opset)
    sizes = Sizes(router.tokens, experts.w1.shape[1], router.columns, router.k)
    with np.errstate(all="ignore"):
        run = region_runner(region, {})
        activation, order = _match_experts(run, sizes, experts)
        candidates = list(_candidates(router.k, activation, nodes))
        matched = experts.reordered(order)
        candidates = _try_whole(run, sizes, matched, candidates)
        return Mixture(_try_all(region, run, sizes, matched, candidates)[0], order)


def _match_experts(run: Run, sizes: Sizes, experts: ExpertStack) -> tuple[str, tuple[int, ...]]:
    """Ask for one expert at a time; the activation and the experts that explain every answer."""
    trials = list(certain_trials(sizes, 1.0, 1))
    x = np.concatenate([trial.x[:asked] for trial, asked in trials])
    answers = np.concatenate([run(trial.x, trial.logits)[:asked] for trial, asked in trials])
    hidden = hidden_of(x, experts)
    errors = {name: np.abs(outputs_of(hidden, experts, name) - answers).max(-1) for name in sorted(ACTIVATIONS)}
    worst = {name: float(error.min(0).max()) for name, error in errors.items()}
    best = min(worst, key=lambda name: worst[name])
    if worst[best] <= TOLERANCE * (float(np.abs(answers).max()) or 1.0):
        return best, tuple(int(e) for e in errors[best].argmin(0))
    raise NotRecognisedError(
        "its experts, asked one at a time, do not answer as two linear layers "
        f"with {', '.join(sorted(ACTIVATIONS))} between them"
    )


def _candidates(k: int, activation: str, nodes: tuple[ir.Node, ...]) -> Iterator[MoEAttributes]:
    limits = {0.0}
    for node in nodes:
        if node.op_type in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
            limits |= {float(a.reshape(-1)[0]) for v in node.inputs if (a := array_of(v)) is not None and a.size == 1}
    for threshold in sorted(limit for limit in limits if 0 <= limit < 1):
        for normalize in (False, True):
            yield MoEAttributes(k, activation, normalize, threshold)


def _try_whole(run: Run, sizes: Sizes, experts: ExpertStack, candidates: list[MoEAttributes]) -> list[MoEAttributes]:
    """The candidates that agree with the whole region, for `WHOLE_ROWS` tokens and each expert."""
    rows = np.unique(np.linspace(0, sizes.tokens - 1, WHOLE_ROWS).astype(np.int64))
    for seed in range(min(max(1, WHOLE_ROWS // sizes.tokens), 16)):
        candidates = _survivors(run, balanced(sizes, np.random.default_rng(seed)), rows, experts, candidates)
    for magnitude in MAGNITUDES:
        for trial, asked in certain_trials(sizes, magnitude, REPEATS):
            candidates = _survivors(run, trial, np.arange(asked), experts, candidates)
    return candidates


def _try_all(
    region: Region, run: Run, sizes: Sizes, experts: ExpertStack, candidates: list[MoEAttributes]
) -> list[MoEAttributes]:
    """The candidates that agree on every trial; with the whole experts where thin ones cannot be had."""
    fewer = thin(experts)
    if fewer is not None and fewer.constants:
        try:
            return _try_trials(region_runner(region, fewer.constants), sizes, fewer.experts, candidates)
        except NotRecognisedError:
            # The region may need its hidden units, in a constant shape for one.
            pass
    return _try_trials(run, sizes, experts, candidates)


def _try_trials(run: Run, sizes: Sizes, experts: ExpertStack, candidates: list[MoEAttributes]) -> list[MoEAttributes]:
    every = np.arange(sizes.tokens)
    for trial in draw_trials(sizes):
        candidates = _survivors(run, trial, every, experts, candidates)
    return candidates


def _survivors(
    run: Run, trial: Trial, rows: np.ndarray, experts: ExpertStack, candidates: list[MoEAttributes]
) -> list[MoEAttributes]:
    """The candidates that give what the region gives for the rows of a trial; `NotRecognisedError` for none."""
    answers, x, logits = run(trial.x, trial.logits)[rows], trial.x[rows], trial.logits[rows]
    agreeing = []
    for attributes in candidates:
        expected, magnitude = mix(x, logits, experts, attributes)
        if (np.abs(expected - answers).max(-1, initial=0) <= TOLERANCE * magnitude).all():
            agreeing.append(attributes)
    if not agreeing:
        raise NotRecognisedError(
            f"its experts are not weighed by a softmax over the router's logits: it differs for {trial.what}"
        )
    return agreeing
