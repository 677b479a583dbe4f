"""The time of a whole frame: steps of the host CPU against figures worked by hand, and what holds of any."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from edgemtl import operators as ops
from edgemtl.hw.law import Finish
from edgemtl.hw.law_weightless import Rescale
from edgemtl.hw.spec import Cpu, read_spec
from edgemtl.profiling.frame import host_ms, time_frame
from edgemtl.profiling.host_cycles import bytes_of, cycles_of
from edgemtl.report.profile import FrameStep, frame_time

BOARD = read_spec("zcu104")
CPU = Cpu("made up", 4, 1000, 2_000_000_000)
"""One cycle of a core is a millionth of a millisecond; a byte of DRAM half of that."""
CONVERT = ops.Convert(1000, "int8", "int16", Rescale(0, 1, 1, 0))
"""An operator that nobody counted."""


def linear(rows: int, k: int, n: int, wide: bool = False) -> ops.QLinear:
    return ops.QLinear(rows, k, n, Finish("int8"), wide=wide)


def image(channels: int, enlarge: bool = False) -> ops.DequantiseImage:
    return ops.DequantiseImage(10, 20, channels, enlarge, "int8", 0.5, 0)


@pytest.mark.parametrize(
    ("operator", "cycles"),
    [
        (ops.QPixels(1000, 3), 3000 * 3.8),
        (ops.QPixelPatches(3, 20, 50, 10), 3000 * 3.8),
        (ops.Dequantise(1000, "int8", 0.5, 0), 1540),
        (image(1), 200 * 1.54),
        # 19 channels: four vectors of four, one of two, one of one.
        (image(19), 200 * (1.57 * 19 + 3.7 * 6)),
        (image(19, enlarge=True), 800 * (2.42 * 19 + 6.2 * 6)),
        # 12 columns take as long as 16.
        (linear(10, 96, 12), 160 * (0.45 * 96 + 8.64)),
        (linear(10, 96, 16), 160 * (0.45 * 96 + 8.64)),
        (ops.QAttention(8, 2, 16, 6, 1, 1), 2 * 2 * 8 * 8 * 16 * 0.955),
        # All 256 values lie side by side; then tiles that are transposed.
        (ops.QCopy(1, (4, 64), (64, 1), (64, 1)), 16.4 + 0.375 * 256),
        (ops.QCopy(2, (4, 64), (80, 1), (64, 1)), 4 * (16.4 + 0.375 * 128)),
        (ops.QCopy(1, (8, 16), (1, 8), (16, 1)), 128 * 3.13),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ops.Operator) else "",
)
def test_cycles_worked_by_hand(operator: ops.Operator, cycles: float) -> None:
    assert cycles_of(operator) == pytest.approx(cycles)


@pytest.mark.parametrize(
    "operator",
    [linear(10, 96, 16, wide=True), ops.QCopy(1, (8, 16), (2, 32), (32, 2)), CONVERT],
    ids=["12 bits", "no side by side", "not counted"],
)
def test_what_nobody_counted_has_no_time(operator: ops.Operator) -> None:
    assert cycles_of(operator) is None
    assert host_ms(operator, CPU, 2) is None


def test_a_step_takes_its_instructions_or_its_bytes() -> None:
    """3,000 values at 3.8 cycles; 6,768 bytes with the table."""
    pixels = ops.QPixels(1000, 3)
    assert bytes_of(pixels) == 3000 + 3000 + 768
    assert host_ms(pixels, CPU, 1) == pytest.approx(0.0114)
    assert host_ms(pixels, CPU, 2) == pytest.approx(0.0057)
    assert host_ms(pixels, CPU, 4) == host_ms(pixels, CPU, 16) == pytest.approx(6768 / 2e6)
    slow = replace(CPU, sustained_bytes_per_s=10**6)
    assert host_ms(pixels, slow, 1) == pytest.approx(6.768)


def test_more_work_never_takes_less_time() -> None:
    rows = [
        [ops.QPixels(size, 3) for size in (1, 100, 5000)],
        [image(channels) for channels in range(1, 40)],
        [image(channels, enlarge=True) for channels in range(1, 40)],
        [linear(rows, 96, 24) for rows in (1, 7, 64)],
        [linear(8, k, 24) for k in (1, 96, 192)],
        [linear(8, 96, n) for n in range(1, 40)],
    ]
    for row in rows:
        times = [host_ms(operator, BOARD.board.cpu, 2) or 0.0 for operator in row]
        assert times[0] > 0
        # Two channels more of an image can be one vector less: 3 take one of two and one of one, 4 a whole one.
        slack = 1.0 if not isinstance(row[0], ops.DequantiseImage) else 0.6
        assert all(later >= slack * sooner for sooner, later in pairwise(times))
        assert times[-1] > times[0]
    for operator in (ops.QPixels(10**6, 3), image(19), linear(64, 96, 24)):
        times = [host_ms(operator, CPU, threads) or 0.0 for threads in range(1, 9)]
        assert all(later <= sooner for sooner, later in pairwise(times))
        assert times[3:] == [times[3]] * 5, "four cores are all there are"


def test_a_frame_is_its_steps_in_order() -> None:
    """Two segments of 300,000 and 600,000 cycles at 300 MHz."""
    board = replace(BOARD, board=replace(BOARD.board, cpu=CPU))
    work = [ops.QPixels(1000, 3), 0, ops.Dequantise(10**6, "int8", 0.5, 0), 1, image(19)]
    frame = time_frame(work, [0, 40, 0, 50, 10], [300_000, 600_000], board, threads=1)
    assert [step.name for step in frame.steps] == [
        "int8 pixels", "segment 0", "dequantise", "segment 1", "dequantise image",
    ]  # fmt: skip
    # A million values of one byte in and four out take 2.5 ms of memory, more than their 1.54 ms of instructions.
    between, before, after = 2.5, 0.0114, 0.010406
    assert frame.host_before_ms == pytest.approx(before)
    assert frame.host_between_ms == pytest.approx(between)
    assert frame.host_after_ms == pytest.approx(after)
    assert frame.accelerator_ms == pytest.approx(3.0)
    assert frame.latency_ms == pytest.approx(3.0 + before + between + after)
    assert frame.interval_ms == pytest.approx(3.0)
    assert frame.unknown == ()
    assert frame.accelerator_share == pytest.approx(0.9)


def test_the_slower_of_both_sets_the_period() -> None:
    def frame(host: float, accelerator: float):
        steps = (FrameStep("host CPU", "a", host, 0), FrameStep("accelerator", "segment 0", accelerator, 0))
        return frame_time(steps, 2)

    assert (frame(3.0, 2.0).latency_ms, frame(3.0, 2.0).interval_ms) == (5.0, 3.0)
    assert (frame(1.0, 2.0).latency_ms, frame(1.0, 2.0).interval_ms) == (3.0, 2.0)
    assert frame_time((FrameStep("host CPU", "a", 1.5, 0),), 2).interval_ms == 1.5
    assert frame(3.0, 2.0).accelerator_share is None


def test_a_step_without_a_time_leaves_none_of_the_whole() -> None:
    work = [ops.QPixels(1000, 3), 0, "native code", CONVERT]
    frame = time_frame(work, [0, 3, 1, 0], [300_000], BOARD, threads=2)
    assert (frame.latency_ms, frame.interval_ms, frame.host_after_ms) == (None, None, None)
    assert frame.host_before_ms is not None
    assert frame.accelerator_ms == pytest.approx(1.0)
    assert frame.unknown == ("native code", "convert")
    assert frame.accelerator_share == 0.75
