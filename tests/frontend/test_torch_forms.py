"""Mixtures of experts as people write them in torch, through torch's own exporter."""

import logging
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgemtl.frontend import read_model
from tests.support.run import assert_same, random_image, run_canonical, run_onnx

DIM, HIDDEN, EXPERTS, K = 12, 10, 4, 2


class Expert(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.up, self.down, self.activation = nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, DIM), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class Layer(nn.Module):
    """A router over the normalised tokens [T, D], its experts' mixture added to them."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.norm, self.gate = nn.LayerNorm(DIM), nn.Linear(DIM, EXPERTS, bias=False)
        nn.init.normal_(self.gate.weight, std=1.5 / DIM**0.5)
        self.experts = nn.ModuleList(Expert(activation) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.mix(y, self.gate(y))


class LoopOverExperts(Layer):
    """torch.where and index_add_ for each expert, scores renormalised."""

    def mix(self, x: Tensor, logits: Tensor) -> Tensor:
        scores, chosen = torch.topk(F.softmax(logits, dim=1, dtype=torch.float), K, dim=-1)
        scores = scores / scores.sum(dim=-1, keepdim=True)
        out, mask = torch.zeros_like(x), F.one_hot(chosen, EXPERTS).permute(2, 1, 0)
        for e, expert in enumerate(self.experts):
            slot, token = torch.where(mask[e])
            picked = x[None, token].reshape(-1, DIM)
            out.index_add_(0, token, expert(picked) * scores[token, slot, None])
        return out


class GatherOutputs(Layer):
    """All experts stacked, the chosen outputs gathered; softmax over the chosen logits."""

    def mix(self, x: Tensor, logits: Tensor) -> Tensor:
        values, chosen = torch.topk(logits, K, -1)
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        picked = outputs.gather(1, chosen[..., None].expand(-1, -1, DIM))
        return (picked * F.softmax(values, -1)[..., None]).sum(1)


class MaskedLogits(Layer):
    """Minus infinity for all but the k best logits, then softmax."""

    def mix(self, x: Tensor, logits: Tensor) -> Tensor:
        values, chosen = logits.topk(K, -1)
        gate = F.softmax(torch.full_like(logits, float("-inf")).scatter(1, chosen, values), -1)
        return sum(expert(x) * gate[:, e : e + 1] for e, expert in enumerate(self.experts))


class Switch(Layer):
    """One expert a token, chosen by argmax, written with where."""

    def mix(self, x: Tensor, logits: Tensor) -> Tensor:
        score, chosen = F.softmax(logits, -1).max(-1)
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            out = torch.where((chosen == e)[:, None], expert(x) * score[:, None], out)
        return out


class GatheredWeights(Layer):
    """The chosen experts' weights gathered for each token."""

    def mix(self, x: Tensor, logits: Tensor) -> Tensor:
        scores, chosen = torch.topk(F.softmax(logits, -1), K, -1)
        up, down = (torch.stack([getattr(e, n).weight for e in self.experts]) for n in ("up", "down"))
        b1, b2 = (torch.stack([getattr(e, n).bias for e in self.experts]) for n in ("up", "down"))
        hidden = F.silu(torch.einsum("td,tkhd->tkh", x, up[chosen]) + b1[chosen])
        return ((torch.einsum("tkh,tkdh->tkd", hidden, down[chosen]) + b2[chosen]) * scores[..., None]).sum(1)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, DIM, 4, 4)
        activations = [nn.GELU(), nn.GELU("tanh"), nn.ReLU(), nn.SiLU(), nn.SiLU()]
        kinds = [LoopOverExperts, GatherOutputs, MaskedLogits, Switch, GatheredWeights]
        self.layers = nn.ModuleList(kind(a) for kind, a in zip(kinds, activations, strict=True))

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image).flatten(2).transpose(1, 2).reshape(-1, DIM)
        for layer in self.layers:
            x = layer(x)
        return x.transpose(0, 1).reshape(1, DIM, 3, 4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    target = tmp_path_factory.mktemp("torch") / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Model().eval(),
            (torch.zeros(1, 3, 12, 16),),
            str(target),
            dynamo=True,
            opset_version=18,
            input_names=["image"],
            output_names=["map"],
            verbose=False,
        )
    return target


def test_every_layer_is_found_and_the_function_stays(path: Path) -> None:
    model = read_model(path)
    found = [note.partition("mixture of ")[2].partition(";")[0] for note in model.notes if "mixture" in note]
    assert found == [
        "4 experts, top 2, gelu, normalised",
        "4 experts, top 2, gelu_tanh, normalised",
        "4 experts, top 2, relu, normalised",
        "4 experts, top 1, silu",
        "4 experts, top 2, silu",
    ]
    image = random_image(model.inputs[0].shape)
    assert_same(run_canonical(model, image), run_onnx(path, {"image": image}))
