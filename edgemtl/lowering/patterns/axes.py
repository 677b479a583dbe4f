"""The two orders in which images lie: channels first, as ONNX has them, and channels last, as kernels want them."""

from __future__ import annotations

from edgemtl.lowering.ir import View

CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)


def lies_channels_last(view: View) -> bool:
    """Whether an image [N, C, H, W] lies channels-last, and not in the order of its axes as well."""
    return len(view.shape) == 4 and not view.is_dense and view.transpose(CHANNELS_LAST).is_dense
