"""Multi-task networks over rows of numbers: dense gates over experts that tasks share or own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.families.family import FEATURES, Family, features
from examples.families.parts import drawn, many

WIDTH = 64


def linear(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    """A linear layer that keeps the spread of its inputs: torch's default loses half of it in each layer."""
    projection = nn.Linear(inputs, outputs)
    nn.init.normal_(projection.weight, 0, gain * inputs**-0.5)
    nn.init.normal_(projection.bias, 0, 0.1)
    return projection


def layer(inputs: int, outputs: int = WIDTH) -> nn.Sequential:
    """An expert."""
    return nn.Sequential(linear(inputs, outputs), nn.ReLU(), linear(outputs, outputs), nn.ReLU())


def tower(inputs: int = WIDTH) -> nn.Sequential:
    """A task's own layers, to one probability."""
    return nn.Sequential(linear(inputs, 32), nn.ReLU(), linear(32, 1), nn.Sigmoid())


def mix(weights: Tensor, values: list[Tensor]) -> Tensor:
    """weights [1, E] over E values [1, D] -> [1, D]."""
    return (weights.softmax(-1)[..., None] * torch.stack(values, 1)).sum(1)


class MMoE(nn.Module):
    """Multi-gate mixture of experts: all experts are shared, each task weighs them by a gate of its own."""

    def __init__(self, experts: int = 6, tasks: int = 3) -> None:
        super().__init__()
        self.experts = many(experts, lambda: layer(FEATURES))
        self.gates = many(tasks, lambda: nn.Linear(FEATURES, experts))
        self.towers = many(tasks, tower)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        values = [expert(features) for expert in self.experts]
        pairs = zip(self.gates, self.towers, strict=True)
        return tuple(tower(mix(gate(features), values)) for gate, tower in pairs)


class Extraction(nn.Module):
    """One layer of PLE (CGC): experts of each task and shared ones; a task's gate sees its own and the shared."""

    def __init__(self, inputs: int, tasks: int, own: int = 2, shared: int = 2, last: bool = False) -> None:
        super().__init__()
        self.own = many(tasks, lambda: many(own, lambda: layer(inputs)))
        self.shared = many(shared, lambda: layer(inputs))
        self.gates = many(tasks, lambda: nn.Linear(inputs, own + shared))
        self.common = None if last else nn.Linear(inputs, tasks * own + shared)

    def forward(self, states: list[Tensor], common: Tensor) -> tuple[list[Tensor], Tensor]:
        shared = [expert(common) for expert in self.shared]
        own = [[expert(x) for expert in experts] for experts, x in zip(self.own, states, strict=True)]
        mixed = [mix(gate(x), [*mine, *shared]) for gate, x, mine in zip(self.gates, states, own, strict=True)]
        if self.common is None:
            return mixed, common
        return mixed, mix(self.common(common), [*(value for mine in own for value in mine), *shared])


class PLE(nn.Module):
    """Progressive layered extraction: two such layers, then a tower for each task."""

    def __init__(self, tasks: int = 3) -> None:
        super().__init__()
        self.first, self.second = Extraction(FEATURES, tasks), Extraction(WIDTH, tasks, last=True)
        self.towers = many(tasks, tower)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        states, common = self.first([features] * len(self.towers), features)
        states, _ = self.second(states, common)
        return tuple(tower(state) for tower, state in zip(self.towers, states, strict=True))


class HoME(nn.Module):
    """HoME: experts of groups of tasks below, experts of tasks above; low-rank gates choose each expert's features."""

    groups = (0, 0, 1, 1, 2, 2)

    def __init__(self) -> None:
        super().__init__()
        count = max(self.groups) + 1
        self.level1, self.common = many(count, lambda: self._group(FEATURES)), self._group(FEATURES)
        self.local, self.wide = many(count, lambda: nn.Linear(FEATURES, 2)), many(count, lambda: nn.Linear(FEATURES, 4))
        self.own, self.shared = (
            many(len(self.groups), lambda: self._group(WIDTH)),
            many(count, lambda: self._group(WIDTH)),
        )
        self.self_gates = many(len(self.groups), lambda: nn.Linear(WIDTH, 2))
        self.gates = many(len(self.groups), lambda: nn.Linear(WIDTH, 4))
        self.towers = many(len(self.groups), tower)

    @staticmethod
    def _group(inputs: int) -> nn.Module:
        return many(2, lambda: GatedFeatures(inputs))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        common = [expert(features) for expert in self.common]
        levels = []
        for experts, local, wide in zip(self.level1, self.local, self.wide, strict=True):
            own = [expert(features) for expert in experts]
            levels.append(mix(local(features), own) + mix(wide(features), [*own, *common]))
        shared = [[expert(x) for expert in experts] for experts, x in zip(self.shared, levels, strict=True)]
        results = []
        for task, group in enumerate(self.groups):
            x = levels[group]
            own = [expert(x) for expert in self.own[task]]
            y = mix(self.self_gates[task](x), own) + mix(self.gates[task](x), [*own, *shared[group]])
            results.append(self.towers[task](y))
        return tuple(results)


class GatedFeatures(nn.Module):
    """An expert that reads x * 2 sigmoid(x A B): linear, batch norm, SiLU."""

    def __init__(self, inputs: int, rank: int = 2) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, inputs, bias=False)
        self.expert = nn.Sequential(linear(inputs, WIDTH), nn.BatchNorm1d(WIDTH), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.expert(x * 2 * torch.sigmoid(self.up(self.down(x))))


class TaskRepresentation(nn.Module):
    """DTRN: a hypernetwork turns a task's embedding into the transform of the behaviour sequence of that task."""

    def __init__(self, tasks: int = 2, length: int = 8, width: int = 32) -> None:
        super().__init__()
        self.length, self.width, self.tasks = length, FEATURES // length, drawn(tasks, 16)
        self.hyper = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, self.width * width))
        self.query, self.towers = drawn(tasks, width), many(tasks, lambda: tower(width + FEATURES))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        sequence = features.reshape(1, self.length, self.width)
        results = []
        for embedded, query, top in zip(self.tasks, self.query, self.towers, strict=True):
            matrix = self.hyper(embedded).reshape(self.width, -1) * self.width**-0.5
            states = torch.tanh(sequence @ matrix)
            weights = (states @ query).softmax(-1)
            results.append(top(torch.cat([(states * weights[..., None]).sum(1), features], -1)))
        return tuple(results)


CLICKS = ("click", "like", "watch")
FAMILIES = (
    Family("mmoe", "MMoE", "a dense gate per task over shared experts", MMoE, features, CLICKS),
    Family("ple", "PLE / CGC", "dense gates over a task's own and shared experts, two layers", PLE, features, CLICKS),
    Family(
        "home",
        "HoME",
        "dense gates over experts of groups, then of tasks",
        HoME,
        features,
        ("click", "like", "watch", "share", "follow", "comment"),
    ),
    Family("dtrn", "DTRN", "a hypernetwork makes a task's transform", TaskRepresentation, features, ("click", "buy")),
)
