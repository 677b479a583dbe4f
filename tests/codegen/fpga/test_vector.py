"""Layers of the vector unit alone, compiled: any sizes and widths, in one segment with what is around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemtl import operators as ops
from edgemtl.codegen.fpga.enlarging import Mode, mode_of
from edgemtl.codegen.fpga.networks import of
from edgemtl.codegen.fpga.runs import NO_LAYER
from edgemtl.hw.arith import encode_ratios, encode_scale, pack_scale
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.law import Finish
from edgemtl.hw.law_weightless import Rescale, Windows
from edgemtl.lowering.ir import View
from edgemtl.operators.resize import linear_taps
from tests.codegen.fpga.builder import WIDE, Net
from tests.codegen.fpga.rig import ENGINES, compile_and_check, engines

QUICK = settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
DTYPES = st.sampled_from(["int8", "int16"])


class VectorNet(Net):
    """Steps of the vector unit beside those of `Net`."""

    def ending(self, dtype: str) -> Finish:
        """How a sum or mean ends; 16 bits with a ReLU or without."""
        return self.finish() if dtype == "int8" else Finish("int16", 0, int(self.rng.choice([0, -128])))

    def sum(self, a: View, b: View, dtype: str, shape: tuple[int, ...] = ()) -> View:
        """The sum of two tensors, which may be seen in any ``shape``."""
        ratios = [float(self.rng.uniform(0.2, 2)) * (1 / 99 if view.dtype == "int16" else 1) for view in (a, b)]
        ratios = [ratio * (99 if dtype == "int16" else 1) for ratio in ratios]
        muls, shift = encode_ratios(ratios, 14, "a sum")
        how, y = self.ending(dtype), self.view(*a.shape, dtype)
        shape = shape or a.shape
        add = ops.QAdd(shape, shape, a.dtype, b.dtype, muls, int(self.ints(-(2**20), 2**20)), shift, how)
        seen = {name: _reshaped(view, shape) for name, view in {"a": a, "b": b, "y": y}.items()}
        self.add(add, seen)
        return y

    def lookup(self, x: View) -> View:
        """A table of all bytes, as if they were one row."""
        y, flat = self.view(*x.shape), (1, x.size)
        views = {"x": _reshaped(x, flat), "y": _reshaped(y, flat)}
        self.add(ops.QLookup(*flat), views, {"table": self.table()[None]})
        return y

    def convert(self, x: View, dtype: str) -> View:
        """Another scale and type, as if they were one row."""
        y, how = self.view(*x.shape, dtype), self.scale(x.dtype, dtype)
        views = {"x": _reshaped(x, (x.size,)), "y": _reshaped(y, (x.size,))}
        self.add(ops.Convert(x.size, x.dtype, dtype, how), views)
        return y

    def scale(self, source: str, target: str) -> Rescale:
        """A scale between the magnitudes of two types."""
        factor = {"int8": 1, "int16": 20}
        zeros = [int(self.ints(-50, 50)) if dtype == "int8" else 0 for dtype in (source, target)]
        return Rescale(
            zeros[0], *encode_scale(float(self.rng.uniform(0.5, 1.5)) * factor[target] / factor[source]), zeros[1]
        )

    def concat(self, parts: list[View], dtype: str) -> View:
        """Tensors side by side; the first as it is where it has the type of the result."""
        rows, widths = parts[0].shape[0], tuple(part.shape[1] for part in parts)
        scales = [self.scale(part.dtype, dtype) for part in parts]
        if parts[0].dtype == dtype:
            scales[0] = Rescale(0, 1 << 16, 16, 0)
        operator = ops.QConcat(rows, widths, tuple(scales), tuple(part.dtype for part in parts), dtype)
        y = self.view(rows, sum(widths), dtype)
        return self.add(operator, {**{f"x{i}": part for i, part in enumerate(parts)}, "y": y})

    def mean(self, x: View, height: int, width: int, dtype: str) -> View:
        """The mean of an image."""
        windows = Windows(height, width, 1, 1, (height, width))
        scale = pack_scale(
            *encode_scale(float(self.rng.uniform(0.5, 1.5)) * (99 if dtype == "int16" else 1) / x.shape[0])
        )
        pool = ops.QPool("average", x.shape[1], windows, int(self.ints(-50, 50)), self.ending(dtype))
        return self.add(pool, {"x": x, "y": self.view(1, x.shape[1], dtype)}, {"scale": scale.reshape(1)})

    def resize(self, x: View, height: int, width: int, mode: Mode) -> View:
        """An image of ``factor`` times the size, by the taps that quantisation makes of float weights."""
        taps = {axis: _taps(size, mode) for axis, size in (("row", height), ("column", width))}
        count = taps["row"]["index"].shape[1]
        out = mode.factor * height, mode.factor * width
        operator = ops.QResample(height, width, x.shape[1], *out, count, count, x.dtype)
        y = self.view(out[0] * out[1], x.shape[1], x.dtype)
        arrays = {f"{axis}_{what}": array for axis, parts in taps.items() for what, array in parts.items()}
        return self.add(operator, {"x": x, "y": y}, arrays)


def _reshaped(view: View, shape: tuple[int, ...]) -> View:
    reshaped = view.reshape(shape)
    assert reshaped is not None
    return reshaped


def _taps(size: int, mode: Mode) -> dict[str, np.ndarray]:
    y = np.arange(mode.factor * size)
    if mode.nearest:
        return {"index": (y // mode.factor)[:, None].astype(np.int32), "weight": np.full((len(y), 1), 2048, np.int32)}
    taps = linear_taps(size, mode.factor * size)
    return {"index": taps["index"], "weight": np.rint(taps["weight"] * 2048).astype(np.int32)}


def alone(net: Net, engine: str) -> list[str]:
    """The layers of the only segment of a net whose ends alone stay on the host."""
    (task,) = compile_and_check(net.steps, net.image, engines()[engine]).tasks
    assert {step.kind for step in task.left} <= {"Quantise", "Dequantise"}, task.left
    (segment,) = task.segments
    return [layer.name for layer in segment.layers]


@pytest.mark.parametrize("engine", ENGINES)
@QUICK
@given(st.integers(0, 999), st.integers(1, 300), st.integers(1, 70), DTYPES, DTYPES, DTYPES)
def test_sums_tables_and_scales(engine: str, seed: int, rows: int, width: int, a: str, b: str, c: str) -> None:
    net = VectorNet(seed)
    x = net.sum(net.source(rows, width, a), net.source(rows, width, b), "int8")
    y = net.convert(net.lookup(x), c)
    for view in (net.sum(y, x, c), y, net.linear(x, 3, net.finish())):
        net.result(view)
    assert alone(net, engine) == ["add", "lookup", "rescale", "add", "linear"]


@pytest.mark.parametrize("engine", ENGINES)
@QUICK
@given(st.integers(0, 999), st.integers(1, 9), st.integers(4, 12), st.integers(1, 40), DTYPES)
def test_residual_blocks(engine: str, seed: int, height: int, width: int, channels: int, dtype: str) -> None:
    """conv, conv, sum with ReLU, in shapes of four axes, and what reads the sum: convolution, mean and layer."""
    net = VectorNet(seed)
    x = net.conv(net.source(height * width, 5, "int8"), height, width, channels, net.finish())
    y = net.sum(net.conv(x, height, width, channels, net.finish()), x, "int8", (1, height, width, channels))
    image = net.conv(y, height, width, 3, WIDE)
    mean = net.mean(y, height, width, dtype)
    for view in (image, net.linear(net.convert(mean, "int8"), 7, WIDE)):
        net.result(view)
    layers = alone(net, engine)
    assert layers == ["picture", "picture", "add", "picture", "mean", "rescale", "linear"]


@pytest.mark.parametrize("engine", ENGINES)
@QUICK
@given(st.integers(0, 999), st.integers(1, 200), st.lists(st.integers(1, 2), max_size=2), DTYPES, DTYPES, DTYPES)
def test_concat(engine: str, seed: int, rows: int, tiles: list[int], a: str, b: str, c: str) -> None:
    net, columns = VectorNet(seed), engines()[engine].engine.array_columns
    parts = [net.source(rows, columns * count, a) for count in tiles] + [net.source(rows, 7, b)]
    for view in (net.linear(net.concat(parts, "int8"), 9, WIDE), net.concat(parts, c)):
        net.result(view)
    assert alone(net, engine) == ["concat", "linear", "concat"]


MODES = [Mode(2, True), Mode(2, False), Mode(4, True), Mode(4, False), Mode(8, True), Mode(8, False)]


@pytest.mark.parametrize("engine", ENGINES)
@QUICK
@given(st.integers(0, 999), st.sampled_from(MODES), st.integers(1, 9), st.integers(1, 12), st.integers(1, 40), DTYPES)
def test_resizes(engine: str, seed: int, mode: Mode, height: int, width: int, channels: int, dtype: str) -> None:
    """From DRAM and from rows on chip; the largest factor of 16 bits between pixels is not exact, and stays."""
    net = VectorNet(seed)
    x = net.source(height * width, channels, dtype)
    rows = net.linear(net.source(height * width, 9, "int8"), channels, WIDE if dtype == "int16" else net.finish())
    for view in [net.resize(each, height, width, mode) for each in (x, rows)]:
        net.result(view)
    if dtype == "int16" and mode == Mode(8, False):
        program = compile_and_check(net.steps, net.image, engines()[engine])
        assert [step.kind for step in program.tasks[0].left].count("QResample") == 2
    else:
        assert alone(net, engine) == ["linear", "resize", "resize"]


def test_on_chip_rows_are_read_where_they_are() -> None:
    """LayerNorm's bytes and the residual stream, neither of which is stored."""
    net = VectorNet(3)
    stream = net.mlp(net.source(40, 24, "int8"), net.source(40, 24, "int16"), 16, False)
    net.result(net.sum(stream, net.norm(stream), "int8"))
    program = compile_and_check(net.steps, net.image, engines()["zcu104"])
    (segment,) = program.tasks[0].segments
    stream_of = decode_stream(segment.stream, program.spec.engine).instructions
    assert sum(instruction.name == "STORE" for instruction in stream_of) == 1


def test_other_weights_are_no_mode_of_the_accelerator() -> None:
    """Aligned corners, and a tap that is one fraction off."""
    net = VectorNet(4)
    net.resize(net.source(4 * 4, 8, "int8"), 4, 4, Mode(2, False))
    step = net.steps[-1]
    resize = of(step, ops.QResample)
    assert mode_of(resize) == Mode(2, False)
    weight = resize.arrays()["row_weight"].copy()
    weight[3] += [1, -1]
    constants = tuple(
        replace(constant, array=weight) if constant.name.endswith(".row_weight") else constant
        for constant in step.constants
    )
    assert mode_of(of(replace(step, constants=constants), ops.QResample)) is None


def test_a_sum_and_its_table_without_a_layer_beside_them_stay() -> None:
    """An enlargement, which reads fewer values than it writes, is a segment."""
    net = VectorNet(6)
    x = net.sum(net.source(16, 8, "int8"), net.source(16, 8, "int8"), "int8")
    net.result(net.lookup(x))
    net.result(net.resize(net.source(16, 8, "int8"), 4, 4, Mode(2, True)))
    (task,) = compile_and_check(net.steps, net.image, engines()["zcu104"]).tasks
    assert [layer.name for segment in task.segments for layer in segment.layers] == ["resize"]
    assert [step.kind for step in task.left if step.reason == NO_LAYER] == ["QAdd", "QLookup"]


def _pool(net: VectorNet) -> View:
    windows = Windows(4, 4, 2, 2, (2, 2), (2, 2))
    scale = pack_scale(np.full(4, 2**16), np.full(4, 18))
    pool = ops.QPool("average", 8, windows, 0, net.ending("int8"))
    return net.add(pool, {"x": net.source(16, 8, "int8"), "y": net.view(4, 8)}, {"scale": scale})


def _broadcast(net: VectorNet) -> View:
    a, b = net.source(16, 8, "int8"), net.source(1, 8, "int8")
    add = ops.QAdd(a.shape, b.shape, "int8", "int8", (9000, 9000), 0, 14, net.ending("int8"))
    return net.add(add, {"a": a, "b": b, "y": net.view(16, 8)})


def _odd(net: VectorNet) -> View:
    return net.concat([net.source(9, 31, "int8")] * 2, "int8")


def _part(net: VectorNet) -> View:
    """The first elements of a row, as a GRU's update gate is."""
    whole = net.source(1, 90, "int8")
    net.result(whole)
    return net.lookup(View(whole.buffer, (1, 30), whole.strides, 0, "int8"))


REFUSED = {
    "it reads a part of a tensor, the vector unit whole ones": _part,
    "fills no whole number of 32-byte granules": _odd,
    "the mean of a whole image, not of windows": _pool,
    "the vector unit adds those of one shape": _broadcast,
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_stays_on_the_host_says_why(why: str) -> None:
    net = VectorNet(5)
    net.result(REFUSED[why](net))
    (task,) = compile_and_check(net.steps, net.image, engines()["zcu104"]).tasks
    assert [why in step.reason for step in task.left if step.kind not in ("Quantise", "Dequantise")] == [True]


@pytest.mark.parametrize("engine", ENGINES)
@QUICK
@given(st.integers(0, 999), st.integers(1, 13), st.integers(1, 40), st.integers(1, 70), st.booleans(), DTYPES)
def test_class_maps(engine: str, seed: int, height: int, width: int, channels: int, enlarge: bool, dtype: str) -> None:
    """Of logits in DRAM and on chip, many of them equal: the lowest channel. One byte of each pixel is stored."""
    net = VectorNet(seed)
    sources = net.source(height * width, channels, dtype), net.source(height * width, 9, "int8")
    logits = net.linear(sources[1], channels, WIDE if dtype == "int16" else net.finish())
    for classes in [net.classes(x, height, width, enlarge) for x in (logits, sources[0])]:
        net.widened(classes)
    program = compile_and_check(net.steps, net.image, engines()[engine])
    (task,) = program.tasks
    assert "QClasses" not in {step.kind for step in task.left}
    (segment,) = task.segments
    assert [layer.name for layer in segment.layers] == ["linear", "classes", "classes"]
    factor = 1 + enlarge
    line = -(-factor * width // LINE_BYTES) * LINE_BYTES
    assert [rows.bytes for rows in segment.outputs] == [factor * height * line] * 2
