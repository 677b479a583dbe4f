"""The mixture-of-experts layer: a gate per token, k experts per token, computed in expert order."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.routing import (
    GateLosses,
    Window,
    balance,
    columns,
    logits_size,
    missing_margin,
    route,
    wrong_information,
)

TARGET_NATS = math.log(2)
"""Mutual information of task and expert that training works towards: that of half of the experts each."""

TARGET_MARGIN = 0.5
"""Lead of the last chosen logit over the next that training works towards."""

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}


def moe_forward(
    x: Tensor,
    logits: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    k: int,
    threshold: float,
    window: Window | None,
    normalize: bool = False,
    activation: str = "gelu",
) -> Tensor:
    """Route tokens x [T, D] by their gate logits [T, E]; the sum [T, D] of their experts' outputs by score.

    w1 [E, D, H], b1 [E, H], w2 [E, H, D], b2 [E, D]; expert(x) = activation(x @ w1 + b1) @ w2 + b2.
    k, threshold, window, normalize: see `route`. Each expert runs once, over all the tokens that chose it.
    """
    scores, experts = route(logits, k, threshold, window, normalize)
    tokens, rows, back = _group(experts, w1.shape[0])
    groups = x.index_select(0, tokens).split_with_sizes(rows)
    act = ACTIVATIONS[activation]
    done = [torch.addmm(b2[e], act(torch.addmm(b1[e], g, w1[e])), w2[e]) for e, g in enumerate(groups)]
    y = torch.cat(done).index_select(0, back).view(*scores.shape, w2.shape[2])
    return (y * scores[:, :, None].to(y.dtype)).sum(1)


def _group(experts: Tensor, total: int) -> tuple[Tensor, list[int], Tensor]:
    """Tokens in expert order, rows per expert, and where each choice [T, k] of a token went (flat).

    An expert's rows are padded (with token 0, never read) to a sixteenth of an even share: matrix libraries
    compile a kernel per shape, which costs more than the padding when every call brings new shapes.
    """
    chosen = experts.reshape(-1)
    grain = max(1, len(chosen) // (16 * total))
    order = chosen.argsort(stable=True)
    counts = torch.bincount(chosen, minlength=total)
    room = (counts + grain - 1) // grain * grain
    padding = (room - counts).cumsum(0) - (room - counts)
    slots = torch.arange(len(order), device=order.device) + padding[chosen[order]]
    rows: list[int] = room.tolist()
    tokens = order.new_zeros(sum(rows)).index_copy_(0, slots, order // experts.shape[1])
    return tokens, rows, torch.empty_like(order).index_copy_(0, order, slots)


class Gate(nn.Module):
    """Gate logits [T, E] of tokens [T, in]: one matrix, no bias."""

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.w_gate = nn.Parameter(nn.init.trunc_normal_(torch.empty(inputs, experts), std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w_gate


class ExpertLinear(nn.Module):
    """One linear layer of every expert: weight [E, out, in], bias [E, out], as FastMoE stores them."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(experts, outputs, inputs), std=0.02))
        self.bias = nn.Parameter(torch.zeros(experts, outputs))


class Experts(nn.Module):
    """The parameters of all experts: dim -> hidden -> dim."""

    def __init__(self, experts: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.htoh4 = ExpertLinear(experts, dim, hidden)
        self.h4toh = ExpertLinear(experts, hidden, dim)


class TaskGroups(NamedTuple):
    """The task of each of a batch's equal groups; their embeddings [groups, d] if the gate sees the task."""

    tasks: tuple[int, ...]
    embedding: Tensor | None


class MoE(nn.Module):
    """Mixture-of-experts MLP of tokens [groups * B, N, D], each group routed for its own task by what its gate reads.

    `compute` does the routing and the experts; it has the signature of `moe_forward` and may be replaced.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.gate = self._gates()
        self.experts = Experts(config.experts, config.dim, config.expert_hidden)
        self.compute: Callable[..., Tensor] = moe_forward
        self.losses: GateLosses | None = None
        self.counting = False
        self.counts = self._no_counts()

    def _gates(self) -> nn.Module:
        c = self.config
        if c.routing == "multi_gate":
            return nn.ModuleList(Gate(c.dim, c.experts) for _ in c.tasks)
        return Gate(c.dim + c.task_embedding, c.experts)

    def forward(self, x: Tensor, gate_input: Tensor, groups: TaskGroups) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        parts = flat.chunk(len(groups.tasks))
        seen = parts if gate_input is x else gate_input.reshape(flat.shape).chunk(len(groups.tasks))
        logits = [self.logits(part, groups, g) for g, part in enumerate(seen)]
        if self.training:
            logits = self._add_noise(logits, groups.tasks)
        if self.counting:
            self._count(logits, groups.tasks)
        if self.config.routing != "window":
            parts, logits = (flat,), [torch.cat(logits) if len(logits) > 1 else logits[0]]
        done = [self._mix(part, z, t) for part, z, t in zip(parts, logits, groups.tasks, strict=False)]
        return (torch.cat(done) if len(done) > 1 else done[0]).reshape(x.shape)

    def logits(self, x: Tensor, groups: TaskGroups, group: int) -> Tensor:
        """Gate logits [T, E] of the tokens x [T, D] of a group.

        Upstream's gate takes token and task embedding as one row: [x, e] @ W, which is x @ Wx + e @ We.
        """
        task, dim = groups.tasks[group], self.config.dim
        if isinstance(self.gate, nn.ModuleList):
            return cast(Tensor, self.gate[task](x))
        weight = cast(Gate, self.gate).w_gate
        if groups.embedding is None:
            return x @ weight
        return x @ weight[:dim] + groups.embedding[group : group + 1] @ weight[dim:]

    def _mix(self, x: Tensor, logits: Tensor, task: int) -> Tensor:
        c, up, down = self.config, self.experts.htoh4, self.experts.h4toh
        w1, w2 = up.weight.transpose(1, 2), down.weight.transpose(1, 2)
        return self.compute(x, logits, w1, up.bias, w2, down.bias, c.top_k, c.expert_prune, c.window(task))

    def _add_noise(self, logits: list[Tensor], tasks: Sequence[int]) -> list[Tensor]:
        """Logits with Gaussian noise of deviation 1 / open experts; keeps the gates' losses of the call."""
        std = 1.0 / (self.config.experts_per_task or self.config.experts)
        noisy = [z.float() + std * torch.randn(z.shape, device=z.device) for z in logits]
        self.losses = self._gate_losses(logits, noisy, tasks, std)
        return noisy

    def _gate_losses(self, logits: list[Tensor], noisy: list[Tensor], tasks: Sequence[int], std: float) -> GateLosses:
        """Balance over all tasks, or within each task's window: windows say themselves which task uses what."""
        k = self.config.top_k
        if self.config.routing != "window":
            together = torch.cat(logits)
            return GateLosses(
                balance(together, torch.cat(noisy), k, std),
                wrong_information(logits, k, TARGET_NATS) if len(tasks) > 1 else together.new_zeros(()),
                missing_margin(together, k, TARGET_MARGIN),
                logits_size(together),
            )
        windows = [columns(self.config.window(task)) for task in tasks]
        seen = [z[:, open_] for z, open_ in zip(logits, windows, strict=True)]
        heard = [n[:, open_] for n, open_ in zip(noisy, windows, strict=True)]
        return GateLosses(
            torch.stack([balance(z, n, k, std) for z, n in zip(seen, heard, strict=True)]).mean(),
            seen[0].new_zeros(()),
            missing_margin(torch.cat(seen), k, TARGET_MARGIN),
            logits_size(torch.cat(seen)),
        )

    def start_counting(self) -> None:
        """Count the tokens of each task [tasks, experts] from zero until `counting` is false again."""
        self.counting, self.counts = True, self._no_counts()

    def _no_counts(self) -> Tensor:
        return torch.zeros(len(self.config.tasks), self.config.experts, dtype=torch.int64, device="cpu")

    def _count(self, logits: list[Tensor], tasks: Sequence[int]) -> None:
        c = self.config
        for task, z in zip(tasks, logits, strict=True):
            chosen = route(z.detach(), c.top_k, c.expert_prune, c.window(task))[1]
            self.counts[task] += torch.bincount(chosen.reshape(-1), minlength=c.experts).cpu()
