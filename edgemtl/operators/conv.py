"""Convolutions. Inside the network images are channels-last, rows [height * width, channels]."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgemtl.hw import law
from edgemtl.hw.arith import unpack_scale
from edgemtl.hw.law import Finish
from edgemtl.operators.activations import SATURATING, activate
from edgemtl.operators.linear import table_of
from edgemtl.operators.operator import Array, Operator, Signature, TensorType, Values, float32, int8, int16, int32

WINDOW = 6
"""Pixels of a side that one tile of Winograd's F(4x4, 3x3) reads."""


@dataclass(frozen=True)
class Conv2d(Operator):
    """Convolution of [height * width, cin] with bias and activation to [out_height * out_width, cout].

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

    @property
    def label(self) -> str:
        return "conv"

    @property
    def signature(self) -> Signature:
        x, y = float32(self.height * self.width, self.cin), float32(self.out_height * self.out_width, self.cout)
        weight = float32(self.cout, self.cin // self.groups, *self.kernel)
        return Signature({"x": x}, {"y": y}, {"weight": weight, "bias": float32(self.cout)})

    @property
    def macs(self) -> int:
        taps = self.cin // self.groups * math.prod(self.kernel)
        return self.out_height * self.out_width * self.cout * taps

    def compute(self, values: Values) -> tuple[Array, ...]:
        return (activate(self._sums(values), self.activation),)

    @property
    def parts(self) -> tuple[str, ...]:
        return ("pre",) if self.activation not in SATURATING else ()

    def part(self, name: str, values: Values) -> Array:
        return self._sums(values)

    def _sums(self, values: Values) -> Array:
        top, left, bottom, right = self.pad
        image = values["x"].reshape(self.height, self.width, self.cin)
        padded, width, sums = np.pad(image, ((top, bottom), (left, right), (0, 0))), self.out_width, []
        for group in range(self.groups):
            size, filters = self.cin // self.groups, self.cout // self.groups
            kernel = values["weight"][group * filters : (group + 1) * filters]
            total = np.zeros((self.out_height * width, filters), np.float32)
            for row in range(self.kernel[0]):
                for column in range(self.kernel[1]):
                    y, x = row * self.dilation[0], column * self.dilation[1]
                    seen = padded[y:, x:][:: self.stride[0], :: self.stride[1]][: self.out_height, :width]
                    part = seen[:, :, group * size : (group + 1) * size].reshape(-1, size)
                    total += values.multiply(part, kernel[:, :, row, column].T)
            sums.append(total)
        return np.concatenate(sums, -1) + values["bias"]


def _out_size(padded: int, kernel: int, stride: int, dilation: int) -> int:
    return (padded - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True)
class QConv2d(Operator):
    """`law.conv2d`: int8 [height * width, cin] to int8 or int16 [out_height * out_width, cout], ``zero`` the padding.

    ``stride`` and ``dilation`` are (vertical, horizontal), ``pad`` is (top, left, bottom, right). Kernels of CPUs take
    one group, or one for each channel.
    """

    height: int
    width: int
    cin: int
    cout: int
    out_height: int
    out_width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int, int, int]
    dilation: tuple[int, int]
    zero: int
    how: Finish
    table: bool = False
    groups: int = 1

    @property
    def label(self) -> str:
        return "conv"

    @property
    def signature(self) -> Signature:
        y = TensorType((self.out_height * self.out_width, self.cout), self.how.dtype)
        weight = int8(self.cout, self.cin // self.groups, *self.kernel)
        constants = {"weight": weight, "bias": int32(self.cout), "scale": int32(self.cout)}
        return Signature(
            {"x": int8(self.height * self.width, self.cin)},
            {"y": y},
            constants | (table_of(self.how) if self.table else {}),
        )

    @property
    def macs(self) -> int:
        return self.out_height * self.out_width * self.cout * (self.cin // self.groups) * math.prod(self.kernel)

    def compute(self, values: Values) -> tuple[Array, ...]:
        image = values["x"].reshape(self.height, self.width, self.cin)
        table = values["table"] if self.table else None
        mul, shift = unpack_scale(values["scale"])
        layer, geometry = (values["weight"], values["bias"], mul, shift), (self.stride, self.pad, self.dilation)
        y = law.conv2d(image, *layer, self.how, self.zero, *geometry, table, self.groups)
        return (y.reshape(-1, self.cout),)


@dataclass(frozen=True)
class Winograd(Operator):
    """3x3 convolution, stride 1, one pixel of zero padding, to [height * width, cout], bias and activation.

    ``upsample``: the image is a [height / 2 * width / 2, cin] one upsampled bilinearly, never stored; height
    and width are even then. ``pointwise``: columns of a 1x1 convolution with bias behind the activation, 0
    for none; the result is [height * width, pointwise or cout]. The weights are WinogradWeights' result. It computes
    what Conv2d does, which has the definition in numpy.
    """

    height: int
    width: int
    cin: int
    cout: int
    upsample: bool
    activation: str
    columns: int
    pointwise: int = 0

    @property
    def signature(self) -> Signature:
        shrink = 4 if self.upsample else 1
        transformed = WinogradWeights(self.cin, self.cout, self.upsample, self.columns).signature.outputs
        inputs = {"x": float32(self.height * self.width // shrink, self.cin), **transformed}
        constants = {"bias": float32(self.cout)}
        if self.pointwise:
            constants |= {"last_weight": float32(self.cout, self.pointwise), "last_bias": float32(self.pointwise)}
        y = float32(self.height * self.width, self.pointwise or self.cout)
        return Signature(inputs, {"y": y}, constants)

    @property
    def macs(self) -> int:
        return self.height * self.width * self.cout * (9 * self.cin + self.pointwise)


@dataclass(frozen=True)
class WinogradWeights(Operator):
    """The weights of a Winograd: a 3x3 convolution's weights in Winograd's form, 4 times their size.

    columns: cout in whole vectors of the target.
    """

    cin: int
    cout: int
    upsample: bool
    columns: int

    @property
    def signature(self) -> Signature:
        weight = float32(self.cout, self.cin, 3, 3)
        return Signature({}, {"transformed": float32(WINDOW**2 * self.cin * self.columns)}, {"weight": weight})


@dataclass(frozen=True)
class QWinograd(Operator):
    """What QConv2d computes, bit by bit, by Winograd's algorithm: 3x3, stride 1, one pixel of ``zero`` around it.

    The weights are QWinogradWeights' result. QConv2d has the definition in numpy.
    """

    height: int
    width: int
    cin: int
    cout: int
    zero: int
    how: Finish
    table: bool
    columns: int

    @property
    def label(self) -> str:
        return "conv"

    @property
    def signature(self) -> Signature:
        transformed = QWinogradWeights(self.cin, self.cout, self.columns).signature.outputs
        y = TensorType((self.height * self.width, self.cout), self.how.dtype)
        constants = {"bias": int32(self.cout), "scale": int32(self.cout)}
        return Signature(
            {"x": int8(self.height * self.width, self.cin), **transformed},
            {"y": y},
            constants | (table_of(self.how) if self.table else {}),
        )

    @property
    def macs(self) -> int:
        return self.height * self.width * self.cout * 9 * self.cin


@dataclass(frozen=True)
class QWinogradWeights(Operator):
    """The weights of a QWinograd: a 3x3 convolution's weights in Winograd's form, 8 times their bytes.

    columns: cout in whole vectors of the target. Channels of the input go in pairs, the last one with zeros.
    """

    cin: int
    cout: int
    columns: int

    @property
    def pairs(self) -> int:
        """Pairs of input channels."""
        return -(-self.cin // 2)

    @property
    def signature(self) -> Signature:
        transformed = int16(WINDOW**2 * 2 * self.pairs * self.columns)
        return Signature({}, {"transformed": transformed}, {"weight": int8(self.cout, self.cin, 3, 3)})
