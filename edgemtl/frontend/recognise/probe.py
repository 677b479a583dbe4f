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
from edgemtl.frontend.recognise.mixture import mix, outputs_of
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
    """What a region was found to be: its attributes, and its experts in the order of the router's columns."""

    attributes: MoEAttributes
    experts: ExpertStack


def probe(router: ExpertChoice, experts: ExpertStack, end: ir.Value, opset: int) -> Mixture:
    """The mixture that the region from tokens and routing to `end` computes; `NotRecognisedError` for another thing."""
    nodes = tuple(nodes_between(router, experts.x, end))
    if router.form != "logits" and len(experts.w1) != router.columns:
        raise NotRecognisedError(f"it has {len(experts.w1)} experts for {router.columns} columns of its router")
    region = Region(nodes, experts.x, router, end, opset)
    sizes = Sizes(router.tokens, experts.w1.shape[1], router.columns, router.k, router.form == "logits")
    with np.errstate(all="ignore"):
        run = region_runner(region, {})
        activation, matched = _match_experts(run, sizes, experts, _factors(nodes))
        gated = experts.w3 is not None
        if router.form == "logits":
            candidates = list(_candidates(router.k, activation, gated, nodes))
        else:
            candidates = [MoEAttributes(router.k, activation, routing="weights", gated=gated)]
        candidates = _try_whole(run, sizes, matched, candidates)
        return Mixture(_try_all(region, run, sizes, matched, candidates)[0], matched)


def _match_experts(run: Run, sizes: Sizes, experts: ExpertStack, factors: list[np.float32]) -> tuple[str, ExpertStack]:
    """Ask for one expert at a time; the activation and the experts that explain every answer."""
    trials = list(certain_trials(sizes, 1.0, 1))
    x = np.concatenate([trial.x[:asked] for trial, asked in trials])
    answers = np.concatenate([run(trial.x, trial.routing)[:asked] for trial, asked in trials])
    best, least = ("", experts), np.inf
    for stack in (experts,) if experts.w3 is None else (experts, experts.swapped()):
        for activation in sorted(ACTIVATIONS):
            outputs = outputs_of(x, stack, activation)
            for factor in factors:
                errors = np.abs(factor * outputs - answers).max(-1)
                worst = float(errors.min(0).max())
                if worst < least:
                    order = tuple(int(e) for e in errors.argmin(0))
                    best, least = (activation, stack.scaled(factor).reordered(order)), worst
    if least <= TOLERANCE * (float(np.abs(answers).max()) or 1.0):
        return best
    raise NotRecognisedError(
        "its experts, asked one at a time, do not answer as two linear layers "
        f"with {', '.join(sorted(ACTIVATIONS))} between them, gated or not"
    )


def _factors(nodes: tuple[ir.Node, ...]) -> list[np.float32]:
    """What the region may multiply all results by: 1, and the numbers it multiplies or divides by."""
    factors = {1.0}
    for node in nodes:
        if node.op_type in ("Mul", "Div"):
            numbers = [float(a.reshape(-1)[0]) for v in node.inputs if (a := array_of(v)) is not None and a.size == 1]
            factors |= {n if node.op_type == "Mul" else 1 / n for n in numbers if n}
    return [np.float32(factor) for factor in sorted(factors, key=lambda f: (f != 1, f))]


def _candidates(k: int, activation: str, gated: bool, nodes: tuple[ir.Node, ...]) -> Iterator[MoEAttributes]:
    limits = {0.0}
    for node in nodes:
        if node.op_type in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
            limits |= {float(a.reshape(-1)[0]) for v in node.inputs if (a := array_of(v)) is not None and a.size == 1}
    for threshold in sorted(limit for limit in limits if 0 <= limit < 1):
        for normalize in (False, True):
            yield MoEAttributes(k, activation, normalize, threshold, gated=gated)


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
    answers, x, routing = run(trial.x, trial.routing)[rows], trial.x[rows], trial.routing[rows]
    agreeing = []
    for attributes in candidates:
        expected, magnitude = mix(x, routing, experts, attributes)
        if (np.abs(expected - answers).max(-1, initial=0) <= TOLERANCE * magnitude).all():
            agreeing.append(attributes)
    if not agreeing:
        by = "a softmax over the router's logits" if trial.of_logits else "the weights the router gives them"
        raise NotRecognisedError(f"its experts are not weighed by {by}: it differs for {trial.what}")
    return agreeing
