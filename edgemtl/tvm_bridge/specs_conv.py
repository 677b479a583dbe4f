"""What the kernels on images compute. Inside the network images are channels-last, [H, W, C], float32."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conv2dSpec:
    """Convolution of [height, width, cin] with bias and activation to [out_height, out_width, cout].

    ``stride`` and ``dilation`` are (vertical, horizontal), ``pad`` is (top, left, bottom, right) of zeros.
    """

    height: int
    width: int
    cin: int
    cout: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    activation: str = ""

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return _out_size(self.height + self.pad[0] + self.pad[2], self.kernel[0], self.stride[0], self.dilation[0])

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return _out_size(self.width + self.pad[1] + self.pad[3], self.kernel[1], self.stride[1], self.dilation[1])


def _out_size(padded: int, kernel: int, stride: int, dilation: int) -> int:
    return (padded - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True)
class ResizeSpec:
    """Bilinear resize of [height, width, channels], edges clamped (ONNX Resize, linear, half_pixel).

    The result is NCHW, [1, channels, out_height, out_width], where ``planar``, else channels-last.
    """

    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    planar: bool = True


@dataclass(frozen=True)
class WinogradSpec:
    """3x3 convolution, stride 1, one pixel of zero padding, to [height, width, cout], bias and activation.

    ``upsample``: the image is a [height / 2, width / 2, cin] one enlarged bilinearly, never stored; height
    and width are even then. ``pointwise``: columns of a 1x1 convolution with bias behind the activation, 0
    for none; the result is [height, width, pointwise or cout]. The weights are WinogradWeightsSpec's result.
    """

    height: int
    width: int
    cin: int
    cout: int
    upsample: bool
    activation: str
    pointwise: int = 0


@dataclass(frozen=True)
class WinogradWeightsSpec:
    """The weights of a WinogradSpec: a 3x3 convolution's weights in Winograd's form, 4 times their size."""

    cin: int
    cout: int
    upsample: bool
