"""Layers, convolutions, images and element-wise operators of the law against loops and onnxruntime."""

import itertools
import math
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgemtl.hw import law, law_weightless
from edgemtl.hw.arith import encode_scale
from edgemtl.hw.law import Finish
from tests.hw import oracle
from tests.hw.draws import RNG, ints
from tests.support.run import run_onnx

BYTES = np.arange(-128, 128)
SAME = (np.array([2**16]), np.array([16]))
"""A requantisation by 1."""


def scales(channels: int, low: float = -12, high: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """A multiplier and a shift for each channel."""
    pairs = [encode_scale(scale) for scale in (2.0 ** RNG.uniform(low, high, channels)).tolist()]
    return np.array([mul for mul, _ in pairs]), np.array([shift for _, shift in pairs])


def gelu_table(scale_in: float, scale_out: float) -> np.ndarray:
    reals = [scale_in * b * (1 + math.erf(scale_in * b / math.sqrt(2))) / 2 for b in BYTES.tolist()]
    return np.array([oracle.clamp(round(real / scale_out), 8) for real in reals], np.int8)


def onnx_op(op: str, x: np.ndarray, *constants: np.ndarray | None, **attributes) -> np.ndarray:
    """What onnxruntime says a node makes of float32 x; None leaves an input out."""
    names = ["x", *("" if c is None else f"c{i}" for i, c in enumerate(constants))]
    values = [onnx.numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(constants) if c is not None]
    node = helper.make_node(op, names, ["y"], **attributes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return run_onnx(model, {"x": x.astype(np.float32)})["y"]


class TestMatmul:
    @pytest.mark.parametrize("k", [1, 9, 768, 3072])
    @pytest.mark.parametrize(("x", "w"), [(-128, -127), (-128, 127), (127, 127), (127, -127)])
    def test_extremes_are_exact(self, k, x, w):
        got = law.matmul(np.full((2, k), x, np.int8), np.full((k, 3), w, np.int8))
        assert got.tolist() == [[x * w * k] * 3] * 2
        assert abs(x * w * k) < 2**31

    @given(st.integers(1, 40), st.integers(0, 2**32 - 1))
    def test_any_bytes(self, k, seed):
        rng = np.random.default_rng(seed)
        x, w = rng.integers(-128, 128, (3, k)), rng.integers(-127, 128, (k, 4))
        columns = w.T.tolist()
        expected = [[sum(map(int.__mul__, row, column)) for column in columns] for row in x.tolist()]
        assert law.matmul(x, w).tolist() == expected

    def test_the_longest_sum_of_the_law(self):
        """2^17 products of one sign, odd, so that a lost bit would show."""
        got = law.matmul(np.full((1, 2**17), -127), np.full((2**17, 1), 127))
        assert got.tolist() == [[-127 * 127 * 2**17]]

    def test_two_products_share_a_multiplier_when_weights_and_stationary_operands_stop_at_minus_127(self):
        """Chains of 8 products must stay within 18 bits, sign included; hence the ranges of weights, of K and V."""
        assert 8 * 128 * 127 < 2**17
        assert 8 * 128 * 128 >= 2**17
        assert 8 * 255 * 127 >= 2**17

    def test_unsigned_weights_less_128_give_the_same_sums(self):
        """An attention row streams p - 128 and adds 128 times the column sum of v, as a bias."""
        p, v = ints(0, 255, 5, 60), ints(-127, 127, 60, 8)
        np.testing.assert_array_equal(law.matmul(p - 128, v) + 128 * v.sum(0), law.matmul(p, v))


class TestFinish:
    @pytest.mark.parametrize("spread", [0.05, 0.02])
    def test_every_byte_through_a_gelu_table(self, spread):
        table = gelu_table(spread, spread)
        got = law.finish(BYTES, *SAME, Finish("int8"), table, None)
        assert got.dtype == np.int8
        assert got.tolist() == table.tolist()
        real = np.array([b * (1 + math.erf(spread * b / math.sqrt(2))) / 2 for b in BYTES.tolist()])
        assert 0.45 < np.abs(got - real).max() <= 0.5
        past_the_dip = BYTES * spread > -0.7518
        assert (np.diff(got[past_the_dip].astype(int)) >= 0).all()

    def test_the_table_sees_the_byte_after_zero_and_saturation(self):
        table = ints(-128, 127, 256).astype(np.int8)
        sums, how = ints(-400, 400, 50, 1), Finish("int8", zero=-17)
        expected = [[int(table[oracle.clamp(value - 17, 8) + 128])] for (value,) in sums.tolist()]
        assert law.finish(sums, *SAME, how, table, None).tolist() == expected

    @pytest.mark.parametrize(("zero", "low"), [(-128, -128), (9, 9), (0, -127), (0, 0)])
    def test_low_is_a_relu_or_keeps_minus_128_out(self, zero, low):
        sums = np.arange(-300, 300)[:, None]
        got = law.finish(sums, *SAME, Finish("int8", zero, low), None, None)
        assert got.ravel().tolist() == [min(max(value + zero, low), 127) for value in sums.ravel().tolist()]

    def test_int16_saturates_before_and_after_the_residual(self):
        sums = np.array([[40000], [-40000], [30000], [-30000], [5]])
        residual = np.array([[-10], [10], [30000], [-30000], [-7]], np.int16)
        plain = law.finish(sums, *SAME, Finish("int16"), None, None)
        added = law.finish(sums, *SAME, Finish("int16"), None, residual)
        assert plain.dtype == added.dtype == np.int16
        assert plain.ravel().tolist() == [32767, -32768, 30000, -30000, 5]
        assert added.ravel().tolist() == [32757, -32758, 32767, -32768, -2]


class TestLinear:
    @pytest.mark.parametrize("dtype", ["int8", "int16"])
    def test_against_a_loop(self, dtype):
        x, w, bias = ints(-128, 127, 4, 30), ints(-127, 127, 30, 6), ints(-(2**14), 2**14, 6)
        mul, shift = scales(6, -9, -4)
        how, residual = Finish(dtype, 3 * (dtype == "int8")), ints(-(2**15), 2**15 - 1, 4, 6)
        got = law.linear(x, w, bias, mul, shift, how, residual=residual if dtype == "int16" else None)
        for m, n in itertools.product(range(4), range(6)):
            acc = sum(int(a) * int(b) for a, b in zip(x[m], w[:, n], strict=True)) + int(bias[n])
            value = oracle.requantise(acc, int(mul[n]), int(shift[n]))
            expected = (
                oracle.clamp(value + 3, 8)
                if dtype == "int8"
                else oracle.clamp(oracle.clamp(value, 16) + int(residual[m, n]), 16)
            )
            assert got[m, n] == expected

    def test_error_against_the_real_layer(self):
        """Half a step, 2^-17 of the value and half a step of the bias, which is a step of the sum."""
        x, w = ints(-128, 127, 64, 400), ints(-127, 127, 400, 32)
        factors, bias = 2.0 ** RNG.uniform(-11, -10, 32), RNG.uniform(-9999, 9999, 32)
        pairs = np.array([encode_scale(factor) for factor in factors.tolist()])
        got = law.linear(x, w, np.rint(bias).astype(int), pairs[:, 0], pairs[:, 1], Finish("int16"))
        real = (x @ w + bias) * factors
        assert (np.abs(got - real) <= 0.5 + np.abs(real) * 2.0**-17 + factors / 2).all()
        assert np.abs(got - real).max() > 0.49

    def test_the_zero_of_the_input_lies_in_the_bias(self):
        zero, x, w, bias = -37, ints(-128, 127, 5, 24), ints(-127, 127, 24, 7), ints(-999, 999, 7)
        mul, shift = scales(7)
        folded = law.linear(x, w, bias - zero * w.sum(0), mul, shift, Finish("int8"))
        np.testing.assert_array_equal(folded, law.linear(x - zero, w, bias, mul, shift, Finish("int8")))


class TestConv2d:
    @pytest.mark.parametrize(
        ("kernel", "stride", "pad", "dilation"),
        [
            ((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
            ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
            ((3, 3), (2, 2), (0, 1, 1, 0), (1, 1)),
            ((2, 3), (2, 1), (1, 0, 2, 3), (2, 3)),
            ((7, 7), (4, 4), (3, 3, 3, 3), (1, 1)),
        ],
    )
    def test_against_a_loop(self, kernel, stride, pad, dilation):
        zero, x, w, bias = -5, ints(-128, 127, 7, 8, 3), ints(-127, 127, 4, 3, *kernel), ints(-500, 500, 4)
        mul, shift = scales(4, -8, -4)
        got = law.conv2d(x, w, bias, mul, shift, Finish("int8", 2), zero, stride, pad, dilation)
        sizes = [
            (length + pad[axis] + pad[axis + 2] - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1
            for axis, length in enumerate((7, 8))
        ]
        assert got.shape == (*sizes, 4)
        for row, column, n in itertools.product(*map(range, got.shape)):
            acc = int(bias[n])
            for i, j, c in itertools.product(range(kernel[0]), range(kernel[1]), range(3)):
                r = row * stride[0] - pad[0] + i * dilation[0]
                s = column * stride[1] - pad[1] + j * dilation[1]
                inside = 0 <= r < 7 and 0 <= s < 8
                acc += int(w[n, c, i, j]) * (int(x[r, s, c]) if inside else zero)
            assert got[row, column, n] == oracle.clamp(oracle.requantise(acc, int(mul[n]), int(shift[n])) + 2, 8)

    def test_against_onnxruntime(self):
        """Padding with the zero point is padding the real image with 0."""
        zero, x, w = 11, ints(-128, 127, 9, 10, 6), ints(-127, 127, 5, 6, 3, 3)
        bias = ints(-5000, 5000, 5)
        arguments = dict(strides=[2, 1], pads=[1, 2, 0, 1], dilations=[1, 2])
        planes = (x - zero).transpose(2, 0, 1)[None]
        real = onnx_op("Conv", planes, w.astype(np.float32), bias.astype(np.float32), **arguments)
        folded = bias - zero * w.sum((1, 2, 3))
        mul, shift = np.full(5, 2**16), np.full(5, 22)  # 2^-6
        got = law.conv2d(x, w, folded, mul, shift, Finish("int16"), zero, (2, 1), (1, 2, 0, 1), (1, 2))
        expected = np.clip(np.floor(real[0] / 64 + 0.5), -(2**15), 2**15 - 1)
        np.testing.assert_array_equal(got, expected.transpose(1, 2, 0))

    def test_a_table_follows(self):
        x, w, table = ints(-128, 127, 3, 3, 2), ints(-127, 127, 4, 2, 1, 1), ints(-128, 127, 256).astype(np.int8)
        mul, shift = scales(4, -8, -6)
        plain = law.conv2d(x, w, np.zeros(4, int), mul, shift, Finish("int8"), 0)
        looked_up = law.conv2d(x, w, np.zeros(4, int), mul, shift, Finish("int8"), 0, table=table)
        np.testing.assert_array_equal(looked_up, table[plain.astype(int) + 128])


class TestPatches:
    def test_order_is_a_convolutions(self):
        image, w = ints(-128, 127, 3, 8, 12).astype(np.int8), ints(-127, 127, 5, 3, 4, 4)
        patches = law.cut_patches(image, 4)
        assert patches.shape == (6, 48)
        real = onnx_op("Conv", image[None], w.astype(np.float32), strides=[4, 4])
        np.testing.assert_array_equal(law.matmul(patches, w.reshape(5, -1).T), real.reshape(5, 6).T)

    @pytest.mark.parametrize("leading", [0, 1, 2])
    def test_tokens_are_projections_plus_the_table(self, leading):
        patches, w, bias = ints(-128, 127, 6, 12), ints(-127, 127, 12, 5), ints(-99, 99, 5)
        mul, shift = scales(5, -3, 0.9)
        table = ints(-(2**15), 2**15 - 1, leading + 6, 5)
        got = law.patch_embed(patches, w, bias, mul, shift, table, leading)
        assert got.dtype == np.int16
        np.testing.assert_array_equal(got[:leading], table[:leading])
        for p, n in itertools.product(range(6), range(5)):
            acc = sum(int(a) * int(b) for a, b in zip(patches[p], w[:, n], strict=True)) + int(bias[n])
            value = oracle.clamp(oracle.requantise(acc, int(mul[n]), int(shift[n])), 16)
            assert got[leading + p, n] == oracle.clamp(value + int(table[leading + p, n]), 16)


class TestImages:
    def test_halves_go_to_even(self):
        image = (np.arange(-200, 201) / 8).astype(np.float32)
        got = law.quantise_image(image, 4.0, 3)
        assert got.dtype == np.int8
        assert got.tolist() == [oracle.clamp(round(Fraction(eighth, 2)) + 3, 8) for eighth in range(-200, 201)]

    def test_everything_beyond_saturates(self):
        image = np.array([-np.inf, -1e30, -40, 40, 1e30, np.inf], np.float32)
        assert law.quantise_image(image, 4.0, -9).tolist() == [-128, -128, -128, 127, 127, 127]

    def test_the_product_is_rounded_to_float32_first(self):
        image, inverse = RNG.uniform(-2, 2, 5000).astype(np.float32), 48.3
        products = [float(np.float32(float(x) * float(np.float32(inverse)))) for x in image]
        expected = [oracle.clamp(round(product) + 5, 8) for product in products]
        assert law.quantise_image(image, inverse, 5).tolist() == expected
        assert np.abs(law.quantise_image(image, inverse, 0) - image.astype(float) * inverse).max() < 0.50002

    def test_16_bits_of_a_float_layer(self):
        x = np.array([-1e9, -8192.125, -0.375, -0.125, 0.125, 0.375, 0.625, 5000.1, 8191.9, np.inf], np.float32)
        got = law.quantise(x, 4.0, 2, "int16")
        assert got.dtype == np.int16
        assert got.tolist() == [-32768, -32766, 0, 2, 2, 4, 4, 20002, 32767, 32767]

    @pytest.mark.parametrize(("dtype", "bits"), [(np.int8, 8), (np.int16, 16), (np.int32, 24)])
    def test_dequantise_rounds_once(self, dtype, bits):
        x, scale, zero = ints(-(2 ** (bits - 1)), 2 ** (bits - 1) - 129, 4000).astype(dtype), 0.0137, -128
        got = law.dequantise(x, scale, zero)
        assert got.dtype == np.float32
        exact = [float(np.float32(scale)) * (value - zero) for value in x.tolist()]  # at most 48 bits: exact
        assert got.tolist() == [float(np.float32(value)) for value in exact]

    @pytest.mark.parametrize("scale", [2.0**-8, 0.0041, 1.7])
    def test_rescale_all_of_int16(self, scale):
        x, (mul, shift) = np.arange(-(2**15), 2**15).astype(np.int16), encode_scale(scale)
        got = law_weightless.rescale(x, law_weightless.Rescale(-7, mul, shift, 21), "int8")
        assert got.dtype == np.int8
        assert got.tolist() == [oracle.clamp(oracle.requantise(v + 7, mul, shift) + 21, 8) for v in x.tolist()]
        inside = np.abs((x + 7) * scale) < 100
        assert np.abs(got - 21 - (x + 7.0) * scale)[inside].max() <= 0.5 + 100 * 2.0**-17

    def test_rescale_to_the_same_scale_changes_nothing(self):
        x = np.arange(-128, 128).astype(np.int8)
        assert law_weightless.rescale(x, law_weightless.Rescale(-9, 1 << 16, 16, -9), "int8").tolist() == x.tolist()

    def test_argmax_takes_the_lowest_of_equal_channels(self):
        x = ints(-2, 2, 12, 13, 19).astype(np.int8)
        got = law.argmax(x)
        assert got.dtype == np.int32
        assert got.tolist() == [[pixel.index(max(pixel)) for pixel in row] for row in x.tolist()]
        assert not law.argmax(np.full((2, 2, 5), -128, np.int8)).any()


class TestEnlarge:
    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (2, 3), (5, 4)])
    def test_against_the_formula_of_linear_interpolation(self, height, width):
        x = ints(-128, 127, height, width, 2)
        for c in range(2):
            rows = [oracle.enlarged(row) for row in x[:, :, c].tolist()]
            columns = [oracle.enlarged(list(column)) for column in zip(*rows, strict=True)]
            expected = [list(row) for row in zip(*columns, strict=True)]
            assert law.enlarge(x)[:, :, c].tolist() == [[16 * value for value in row] for row in expected]
            assert law.bilinear(x)[:, :, c].tolist() == [[oracle.nearest(value) for value in row] for row in expected]

    def test_against_onnxruntime(self):
        x = ints(-128, 127, 6, 9, 4)
        sizes = np.array([1, 1, 2, 2], np.float32)
        planes = x.transpose(2, 0, 1)[None]
        resized = onnx_op("Resize", planes, None, sizes, mode="linear", coordinate_transformation_mode="half_pixel")
        real = resized[0].transpose(1, 2, 0)
        np.testing.assert_array_equal(law.enlarge(x) / 16, real)
        assert np.abs(law.bilinear(x) - real).max() == 0.5

    @pytest.mark.parametrize("value", [-128, 127])
    def test_the_ends_of_int8_stay(self, value):
        got = law.bilinear(np.full((3, 2, 1), value, np.int8))
        assert got.dtype == np.int8
        assert (got == value).all()
