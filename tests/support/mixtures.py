"""Mixtures of experts as the papers and libraries write them in torch, each as small as it can be."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIM, HIDDEN, EXPERTS, K, SIDE = 16, 24, 6, 2, 6
TOKENS, TASKS = SIDE * SIDE, 2


def many(count: int, build: type[nn.Module], *sizes: int) -> nn.ModuleList:
    return nn.ModuleList(build(*sizes) for _ in range(count))


class Mlp(nn.Sequential):
    """An expert of two linear layers."""

    def __init__(self, inner: int = HIDDEN) -> None:
        super().__init__(nn.Linear(DIM, inner), nn.GELU(), nn.Linear(inner, DIM))


class SwiGlu(nn.Module):
    """An expert of three matrices without biases, as in Mixtral."""

    def __init__(self, inner: int = HIDDEN) -> None:
        super().__init__()
        self.w1, self.w3 = (nn.Linear(DIM, inner, bias=False) for _ in range(2))
        self.w2 = nn.Linear(inner, DIM, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Gated(nn.Module):
    """A gate for each task and experts that tasks share; `mix` says what task `task` makes of tokens [T, D]."""

    def __init__(self, expert: type[nn.Module] = Mlp, experts: int = EXPERTS) -> None:
        super().__init__()
        self.gates, self.experts = many(TASKS, nn.Linear, DIM, experts), many(experts, expert)
        for gate in self.gates:
            nn.init.normal_(gate.weight, std=2 / DIM**0.5)

    def dense(self, x: Tensor, weights: Tensor) -> Tensor:
        """Every expert on every token, weighed by a column of weights [T, E]."""
        return sum(expert(x) * weights[:, e : e + 1] for e, expert in enumerate(self.experts))

    def loop(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Every expert on the tokens that chose it, as Mixtral in Hugging Face's transformers."""
        out, mask = torch.zeros_like(x), F.one_hot(chosen, len(self.experts)).permute(2, 1, 0)
        for e, expert in enumerate(self.experts):
            slot, token = torch.where(mask[e])
            out.index_add_(0, token, expert(x[None, token].reshape(-1, DIM)) * weights[token, slot, None])
        return out

    def top(self, x: Tensor, task: int) -> tuple[Tensor, Tensor]:
        scores = self.gates[task](x).softmax(-1)
        values, chosen = scores.topk(K, -1)
        return values / values.sum(-1, keepdim=True), chosen


def spread(values: Tensor, chosen: Tensor, experts: int = EXPERTS) -> Tensor:
    """Weights [T, E] of the chosen experts, zero elsewhere."""
    return torch.zeros(len(values), experts).scatter(1, chosen, values)


class DeepSeek(Gated):
    """DeepSeek-V3: sigmoid scores, a bias that only chooses, groups, normalised and scaled weights, a shared expert."""

    groups, top_groups = 3, 2

    def __init__(self) -> None:
        super().__init__(SwiGlu)
        self.bias, self.shared = nn.Parameter(torch.randn(EXPERTS) * 0.1), SwiGlu()

    def route(self, x: Tensor, task: int) -> tuple[Tensor, Tensor]:
        scores = self.gates[task](x).sigmoid()
        biased = (scores + self.bias).reshape(TOKENS, self.groups, -1)
        best = biased.topk(2, -1)[0].sum(-1).topk(self.top_groups, -1)[1]
        opened = torch.zeros(TOKENS, self.groups).scatter(1, best, 1.0)
        chosen = biased.masked_fill(opened[..., None] == 0, float("-inf")).flatten(1).topk(K, -1)[1]
        weights = scores.gather(1, chosen)
        return weights / (weights.sum(-1, keepdim=True) + 1e-20) * 2.5, chosen

    def mix(self, x: Tensor, task: int) -> Tensor:
        return self.dense(x, spread(*self.route(x, task))) + self.shared(x)


class DeepSeekLoop(DeepSeek):
    """The same, each expert on the tokens that chose it."""

    def mix(self, x: Tensor, task: int) -> Tensor:
        weights, chosen = self.route(x, task)
        return self.loop(x, chosen, weights) + self.shared(x)


class Mixtral(Gated):
    """Mixtral as transformers writes it: torch.where and index_add_ over SwiGLU experts."""

    def __init__(self) -> None:
        super().__init__(SwiGlu)

    def mix(self, x: Tensor, task: int) -> Tensor:
        weights, chosen = self.top(x, task)
        return self.loop(x, chosen, weights)


class StackedSwiGlu(Gated):
    """Experts of three matrices stacked over experts, as transformers stores gate_up_proj and down_proj."""

    def __init__(self) -> None:
        super().__init__(nn.Identity)
        self.gate_up = nn.Parameter(torch.randn(EXPERTS, DIM, 2 * HIDDEN) / DIM**0.5)
        self.down = nn.Parameter(torch.randn(EXPERTS, HIDDEN, DIM) / HIDDEN**0.5)

    def mix(self, x: Tensor, task: int) -> Tensor:
        values, chosen = self.top(x, task)
        gate, up = torch.bmm(x.expand(EXPERTS, -1, -1), self.gate_up).chunk(2, -1)
        outputs = torch.bmm(up * F.silu(gate), self.down)
        return (outputs * spread(values, chosen).t()[..., None]).sum(0)


class SwitchCapacity(Gated):
    """Switch: the best expert, and nothing for tokens beyond an expert's capacity."""

    def mix(self, x: Tensor, task: int) -> Tensor:
        score, chosen = self.gates[task](x).softmax(-1).max(-1)
        hot = F.one_hot(chosen, EXPERTS).float()
        fits = hot * (hot.cumsum(0) <= TOKENS // EXPERTS)
        return self.dense(x, fits * score[:, None])


class VMoE(Gated):
    """V-MoE: a dispatch tensor fills buffers [E, C, D], first choices first; a combine tensor empties them."""

    capacity = 2 * TOKENS // EXPERTS

    def __init__(self) -> None:
        super().__init__(nn.Identity)
        self.w1 = nn.Parameter(torch.randn(EXPERTS, DIM, HIDDEN) / DIM**0.5)
        self.w2 = nn.Parameter(torch.randn(EXPERTS, HIDDEN, DIM) / HIDDEN**0.5)

    def stacked(self, buffers: Tensor) -> Tensor:
        return torch.einsum("ech,ehd->ecd", F.gelu(torch.einsum("ecd,edh->ech", buffers, self.w1)), self.w2)

    def mix(self, x: Tensor, task: int) -> Tensor:
        values, chosen = self.gates[task](x).softmax(-1).topk(K, -1)
        hot = F.one_hot(chosen.t(), EXPERTS)  # [K, T, E]
        place = (hot.reshape(-1, EXPERTS).cumsum(0).reshape(K, TOKENS, EXPERTS) * hot).sum(-1) - 1
        fits = (place < self.capacity).float() * values.t()
        slot = F.one_hot(place.clamp(max=self.capacity - 1), self.capacity).float()
        combine = torch.einsum("kt,kte,ktc->tec", fits, hot.float(), slot)
        buffers = torch.einsum("tec,td->ecd", (combine > 0).float(), x)
        return torch.einsum("tec,ecd->td", combine, self.stacked(buffers))


class ExpertChoice(VMoE):
    """Expert choice: each expert picks the tokens it takes."""

    def mix(self, x: Tensor, task: int) -> Tensor:
        weights, token = self.gates[task](x).softmax(-1).t().topk(self.capacity, -1)
        outputs = self.stacked(x[token]) * weights[..., None]
        return torch.zeros_like(x).index_add(0, token.flatten(), outputs.flatten(0, 1))


class ExpertChoiceOneHot(VMoE):
    """The same with the choice as a permutation matrix, as the paper writes it."""

    def mix(self, x: Tensor, task: int) -> Tensor:
        weights, token = self.gates[task](x).softmax(-1).t().topk(self.capacity, -1)
        permutation = F.one_hot(token, TOKENS).float()
        outputs = self.stacked(torch.einsum("ect,td->ecd", permutation, x))
        return torch.einsum("ect,ec,ecd->td", permutation, weights, outputs)


class SoftMoE(VMoE):
    """Soft MoE: slots are mixtures of all tokens, tokens are mixtures of all slots."""

    def __init__(self) -> None:
        super().__init__()
        self.slots, self.scale = nn.Parameter(torch.randn(TASKS, DIM, EXPERTS * 2)), nn.Parameter(torch.tensor(3.0))

    def mix(self, x: Tensor, task: int) -> Tensor:
        logits = F.normalize(x, dim=1) @ (F.normalize(self.slots[task], dim=0) * self.scale)
        outputs = self.stacked((logits.softmax(0).t() @ x).reshape(EXPERTS, -1, DIM))
        return logits.softmax(1) @ outputs.reshape(-1, DIM)


class MMoE(Gated):
    """MMoE: every expert has a weight for each token."""

    def mix(self, x: Tensor, task: int) -> Tensor:
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        return (self.gates[task](x).softmax(-1)[..., None] * outputs).sum(1)


class PLE(nn.Module):
    """PLE of two CGC layers: experts of each task and shared ones; the shared state goes on from layer to layer."""

    def __init__(self, own: int = 2, shared: int = 2) -> None:
        super().__init__()
        self.own = nn.ModuleList(nn.ModuleList(many(own, Mlp) for _ in range(TASKS)) for _ in range(2))
        self.shared = nn.ModuleList(many(shared, Mlp) for _ in range(2))
        self.gates = nn.ModuleList(many(TASKS, nn.Linear, DIM, own + shared) for _ in range(2))
        self.both = nn.Linear(DIM, TASKS * own + shared)

    def mix(self, x: Tensor, task: int) -> Tensor:
        states, common = [x] * TASKS, x
        for layer in range(2):
            shared = [expert(common) for expert in self.shared[layer]]
            own = [[e(states[t]) for e in self.own[layer][t]] for t in range(TASKS)]
            everything = torch.stack([*own[0], *own[1], *shared], 1)
            gates = [self.gates[layer][t](states[t]).softmax(-1)[..., None] for t in range(TASKS)]
            common = (self.both(common).softmax(-1)[..., None] * everything).sum(1)
            states = [(gates[t] * torch.stack([*own[t], *shared], 1)).sum(1) for t in range(TASKS)]
        return states[task]


class CGC(Gated):
    """CGC: one layer with two experts of each task's own and two shared ones."""

    def __init__(self) -> None:
        super().__init__(experts=4)
        self.common = many(2, Mlp)

    def mix(self, x: Tensor, task: int) -> Tensor:
        outputs = [expert(x) for expert in (*self.experts[2 * task : 2 * task + 2], *self.common)]
        return torch.einsum("te,ted->td", self.gates[task](x).softmax(-1), torch.stack(outputs, 1))


class ModSquad(Gated):
    """Mod-Squad: a gate for each task, noise left out, weights of the chosen as the softmax gives them."""

    def mix(self, x: Tensor, task: int) -> Tensor:
        values, chosen = self.gates[task](x).softmax(-1).topk(K, -1)
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        return torch.einsum("te,ted->td", spread(values, chosen), outputs)


class LoraExperts(Gated):
    """One dense layer and low-rank experts added to it, the best two for each token."""

    def __init__(self, rank: int = 4) -> None:
        super().__init__(nn.Identity)
        self.base = nn.Linear(DIM, DIM)
        self.a = many(EXPERTS, lambda: nn.Linear(DIM, rank, bias=False))
        self.b = many(EXPERTS, lambda: nn.Linear(rank, DIM, bias=False))

    def mix(self, x: Tensor, task: int) -> Tensor:
        weights = spread(*self.top(x, task))
        pairs = enumerate(zip(self.a, self.b, strict=True))
        return self.base(x) + sum(weights[:, e, None] * b(a(x)) * 2 for e, (a, b) in pairs)


class Nested(Gated):
    """Two levels: the best group of experts for each token, then the best two in the group."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = many(TASKS, nn.Linear, DIM, 2)

    def mix(self, x: Tensor, task: int) -> Tensor:
        group = spread(*self.outer[task](x).softmax(-1).topk(1, -1), 2)
        logits = self.gates[task](x).reshape(TOKENS, 2, -1)
        values, chosen = logits.topk(K, -1)
        inner = torch.zeros_like(logits).scatter(2, chosen, values.softmax(-1))
        return self.dense(x, (inner * group[..., None]).flatten(1))


class AttentionExperts(Gated):
    """Mixture of attention heads: each token chooses which heads' results it takes, and how much of each."""

    heads = 4

    def __init__(self) -> None:
        super().__init__(nn.Identity, self.heads)
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def mix(self, x: Tensor, task: int) -> Tensor:
        q, k, v = self.qkv(x).reshape(TOKENS, 3, self.heads, -1).permute(1, 2, 0, 3)
        y = F.scaled_dot_product_attention(q[None], k[None], v[None])[0].transpose(0, 1)
        values, chosen = self.gates[task](x).softmax(-1).topk(K, -1)
        return self.out((y * spread(values, chosen, self.heads)[..., None]).flatten(1))


class ImageGate(Gated):
    """TaskExpert: convolutions as experts, all weighed by a gate over the pooled image."""

    experts_chosen = None

    def __init__(self) -> None:
        super().__init__(lambda: nn.Conv2d(DIM, DIM, 3, padding=1))

    def weights(self, y: Tensor, task: int) -> Tensor:
        return self.gates[task](y.mean((2, 3))).softmax(-1)

    def mix(self, x: Tensor, task: int) -> Tensor:
        y = x.t().reshape(1, DIM, SIDE, SIDE)
        outputs = torch.stack([expert(y) for expert in self.experts], 1)
        return (outputs * self.weights(y, task)[:, :, None, None, None]).sum(1)[0].flatten(1).t()


class MLoRE(ImageGate):
    """MLoRE: low-rank convolutions as experts, of which the whole image takes the best."""

    def __init__(self, experts: int = 5) -> None:
        Gated.__init__(self, lambda: nn.Sequential(nn.Conv2d(DIM, 4, 3, padding=1), nn.Conv2d(4, DIM, 1)), experts)

    def weights(self, y: Tensor, task: int) -> Tensor:
        values, chosen = self.gates[task](y.mean((2, 3))).softmax(-1).topk(3, -1)
        return torch.zeros(1, len(self.experts)).scatter(1, chosen, values)


LAYERS: dict[str, type[nn.Module]] = {
    "deepseek": DeepSeek,
    "deepseek_loop": DeepSeekLoop,
    "mixtral_loop": Mixtral,
    "swiglu_stacked": StackedSwiGlu,
    "switch_capacity": SwitchCapacity,
    "vmoe_dispatch": VMoE,
    "expert_choice": ExpertChoice,
    "expert_choice_one_hot": ExpertChoiceOneHot,
    "soft_moe": SoftMoE,
    "mmoe": MMoE,
    "ple": PLE,
    "cgc": CGC,
    "mod_squad": ModSquad,
    "lora": LoraExperts,
    "nested": Nested,
    "attention_heads": AttentionExperts,
    "image_gate": ImageGate,
    "mlore": MLoRE,
}


class Network(nn.Module):
    """Patches, layers of experts with residuals, one after the other for each task, and a map for each task."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, DIM, 4, 4)
        self.norms, self.layers = many(len(names), nn.LayerNorm, DIM), nn.ModuleList(LAYERS[name]() for name in names)
        self.heads = nn.ModuleList(nn.Linear(DIM, channels) for channels in (5, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        tokens = self.embed(image).flatten(2).transpose(1, 2)[0]
        return tuple(self.task(tokens, task) for task in range(TASKS))

    def task(self, x: Tensor, task: int) -> Tensor:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer.mix(norm(x), task)
        return self.heads[task](x).t().reshape(1, -1, SIDE, SIDE)


def export(names: tuple[str, ...], path: Path, dynamo: bool) -> Network:
    """The network of these layers, written to ``path`` by either exporter of torch."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    network = Network(*names).eval()
    for norm in network.norms:
        nn.init.uniform_(norm.weight, 0.6, 1.4)
        nn.init.normal_(norm.bias, 0, 0.1)
    more = {"dynamo": True, "verbose": False} if dynamo else {"dynamo": False, "opset_version": 17}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.zeros(1, 3, 4 * SIDE, 4 * SIDE),)
        torch.onnx.export(network, example, str(path), input_names=["image"], output_names=["semseg", "depth"], **more)
    return network
