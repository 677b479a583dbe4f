"""The model's slow spots on a CPU, computed another way in training: the same function, the same parameters.

The experts run as one batched product over equal-sized groups of tokens instead of one product each of ever
new shapes, for each of which a kernel would be compiled.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from edgemtl.exporters.models import M3ViT
from edgemtl.exporters.models.routing import Window, route

_GROUP_STEP = 256
"""Groups are rounded up to this many tokens, so that few shapes occur and compiled kernels are reused."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""Parameters of mallopt(3)."""


class FunctionCtx(Protocol):
    """What autograd hands to a function's two halves."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for the backward half."""
        ...


class _Spread(torch.autograd.Function):
    """Rows [S, D] of x [T, D] at ``source`` [S]; ``slot`` [T, k] says where each token went.

    The gradient is gathered through ``slot``, which is many times faster than scattering it.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, source: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        return x.index_select(0, source)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slot,) = ctx.saved_tensors
        tokens, k = slot.shape
        return grads[0].index_select(0, slot.reshape(-1)).view(tokens, k, -1).sum(1), None, None


class _Gather(torch.autograd.Function):
    """Rows [T * k, D] of y [S, D] at ``slot`` [T, k]; empty slots of y get no gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, y: Tensor, slot: Tensor, filled: Tensor, rank: Tensor) -> Tensor:
        ctx.save_for_backward(filled, rank)
        return y.index_select(0, slot.reshape(-1))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        filled, rank = ctx.saved_tensors
        return grads[0].index_select(0, rank) * filled[:, None].to(grads[0].dtype), None, None, None


def grouped_experts(
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
    """`moe_forward` of the model package for GELU experts, by batched products; the same arguments."""
    scores, experts = route(logits, k, threshold, window, normalize)
    slot, source, rank, filled = _layout(experts, w1.shape[0])
    rows: Tensor = _Spread.apply(x, source, slot)  # type: ignore[no-untyped-call]
    spread = rows.view(w1.shape[0], -1, x.shape[1])
    hidden = functional.gelu(torch.baddbmm(b1[:, None], spread, w1))
    done = torch.baddbmm(b2[:, None], hidden, w2).view(len(source), -1)
    gathered: Tensor = _Gather.apply(done, slot, filled, rank)  # type: ignore[no-untyped-call]
    chosen = gathered.view(*slot.shape, -1)
    return (chosen * scores[:, :, None].to(chosen.dtype)).sum(1)


def _layout(experts: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Places of the choices experts [T, k] in ``count`` groups of one size, S slots together.

    Returns slot [T, k] of each choice, and for each slot [S]: its token, its choice, whether it is filled.
    """
    chosen = experts.reshape(-1)
    order = chosen.argsort(stable=True)
    sizes = torch.bincount(chosen, minlength=count)
    group = -(-int(sizes.max()) // _GROUP_STEP) * _GROUP_STEP
    starts = torch.cumsum(sizes, 0) - sizes
    sorted_experts = chosen[order]
    places = sorted_experts * group + torch.arange(len(order)) - starts[sorted_experts]
    rank = torch.zeros(count * group, dtype=torch.int64).index_copy_(0, places, order)
    filled = torch.zeros(count * group, dtype=torch.bool).index_fill_(0, places, True)
    slot = torch.empty_like(order).index_copy_(0, order, places).view_as(experts)
    return slot, rank // experts.shape[1], rank, filled


def speed_up(model: M3ViT) -> None:
    """Switch the model's experts to `grouped_experts` and let the process keep the memory it frees."""
    _keep_freed_memory()
    for layer in model.moe_layers():
        layer.compute = grouped_experts


def _keep_freed_memory() -> None:
    """Make glibc reuse freed memory: mapping fresh pages for every activation costs a third of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 2**28)
        mallopt(_M_MMAP_MAX, 0)
