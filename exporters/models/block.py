"""The transformer block: attention, then a dense MLP or a mixture of experts, each normalised and added."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from edgemtl.exporters.models.config import ModelConfig
from edgemtl.exporters.models.moe import MoE, TaskGroups


class Attention(nn.Module):
    """Multi-head self-attention of tokens [B, N, D], scores scaled by 1 / sqrt(D / heads)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scale, kt = float((d // self.heads) ** -0.5), k.transpose(-2, -1)
        # The same product; scaling the smaller factor saves a tenth of a training step.
        scores = (q * scale) @ kt if self.training else q @ kt * scale
        mixed = scores.softmax(-1) @ v
        return cast(Tensor, self.proj(mixed.transpose(1, 2).reshape(b, n, d)))


class Mlp(nn.Module):
    """Dense MLP: dim -> hidden -> dim with GELU (erf)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(functional.gelu(self.fc1(x))))


class Block(nn.Module):
    """One block of the trunk over tokens [B, N, D]."""

    def __init__(self, config: ModelConfig, moe: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config.dim, config.heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp: Mlp | MoE = MoE(config) if moe else Mlp(config.dim, config.mlp_hidden)
        self.gate_input_ahead = config.gate_input_ahead

    def attend(self, x: Tensor) -> Tensor:
        """The half that no task changes."""
        return x + cast(Tensor, self.attn(self.norm1(x)))

    def feed(self, x: Tensor, before: Tensor, groups: TaskGroups) -> Tensor:
        """The half that depends on the task where the block is a mixture of experts.

        before: the block's input, which `attend` made x of.
        """
        x2 = self.norm2(x)
        if not isinstance(self.mlp, MoE):
            return x + cast(Tensor, self.mlp(x2))
        return x + cast(Tensor, self.mlp(x2, before if self.gate_input_ahead else x2, groups))

    def forward(self, x: Tensor, groups: TaskGroups) -> Tensor:
        return self.feed(self.attend(x), x, groups)
