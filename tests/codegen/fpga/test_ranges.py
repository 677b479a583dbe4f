"""Integers of the law that are more than the accelerator's arithmetic takes: refused by the board, with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.ranges import integers_reason, largest_sum
from edgemtl.codegen.fpga.select import Left, select
from edgemtl.hw.encoding import decode_stream
from edgemtl.lowering.ir import Step
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.rig import compile_and_check, engines

ENGINE = engines()["zcu104"].engine


def with_bias(step: Step, bias: int) -> Step:
    """The same layer with one column of this bias."""
    constants = [
        replace(one, array=np.concatenate([[bias], one.array[1:]]).astype(np.int32)) if one.array.ndim == 1 and
        one.name.split(".")[1] == "bias" else one
        for one in step.constants
    ]  # fmt: skip
    return replace(step, constants=tuple(constants))


def network(seed: int = 1) -> Net:
    """A block of each kind whose sums are bounded, and a head."""
    net = Net(seed)
    stream = net.patch(16, 30, 32, 0)
    stream = net.attention(net.norm(stream), stream, 1, 32)
    stream = net.experts(net.norm(stream), stream, 4, 2, 24)
    stream = net.mlp(net.norm(stream), stream, 24, False)
    net.result(net.conv(net.norm(stream), 4, 4, 16, net.finish()))
    return net


LAYERS = [i for i, step in enumerate(network().steps) if any(".bias" in one.name for one in step.constants)]


@pytest.mark.parametrize("at", LAYERS)
def test_a_layer_whose_sums_need_27_bits_stays_on_the_cpu_and_gives_the_same_bits(at: int) -> None:
    net = network()
    step = net.steps[at]
    net.steps[at] = with_bias(step, 2**26)
    reached = 2**26 + 128 * largest_column(step)
    assert integers_reason(net.steps[at]) == f"its sums reach {reached:,}, the accelerator's keep below 67,108,864"
    (task,) = compile_and_check(net.steps, net.image, engines()["zcu104"]).tasks
    assert integers_reason(net.steps[at]) in {left.reason for left in task.left}
    least = with_bias(step, 2**26 - 1 - 128 * largest_column(step))
    assert integers_reason(least) == ""


@pytest.mark.parametrize("at", LAYERS)
def test_a_weight_of_minus_128_keeps_its_layer_on_the_cpu(at: int) -> None:
    step = network().steps[at]
    name = next(one.name for one in step.constants if ".weight" in one.name)
    constants = [replace(one, array=_lowered(one.array)) if one.name == name else one for one in step.constants]
    assert "a weight of -128" in integers_reason(replace(step, constants=tuple(constants)))
    assert not integers_reason(step)


def _lowered(weight: np.ndarray) -> np.ndarray:
    """The same weights, one of them -128."""
    lowered = weight.copy()
    lowered.flat[3] = -128
    return lowered


def largest_column(step: Step) -> int:
    """The magnitudes of the weights of the column of the first bias; of experts, of the one that has most."""
    weights = [one.array.astype(np.int64) for one in step.constants if ".weight" in one.name]
    return max(int(np.abs(weight[0] if weight.ndim == 4 else weight[:, 0]).sum()) for weight in weights)


def test_the_largest_sum_is_reached() -> None:
    rng = np.random.default_rng(1)
    w, bias = rng.integers(-127, 128, (40, 6)), rng.integers(-9999, 9999, 6)
    arrays = {"weight": w.astype(np.int8), "bias": bias.astype(np.int32)}
    reached = [np.abs(np.where(w * s < 0, 127, -128).T @ w).diagonal() for s in (1, -1)]
    bound = largest_sum(arrays, 1)
    assert bound == max(128 * np.abs(w).sum(0) + np.abs(bias))
    assert np.max(reached) <= bound
    assert largest_sum({"weight": w.T.reshape(6, 10, 2, 2), "bias": bias}, 0) == bound


def reasons_of(net: Net) -> list[str]:
    return [item.reason for item in select(net.steps, ENGINE) if isinstance(item, Left)]


def attention_of(tokens: int, shift: int) -> Net:
    net = Net(2)
    stream = net.source(tokens, 8, "int16")
    net.result(net.attention(net.norm(stream), stream, 1, 8))
    net.steps[:] = [
        replace(step, operator=replace(step.operator, shift=shift)) if isinstance(step.operator, ops.QAttention)
        else step for step in net.steps
    ]  # fmt: skip
    return net


@pytest.mark.parametrize(
    ("tokens", "shift", "reason"),
    [
        (2048, 16, ""),
        (2049, 16, "it has 2,049 keys, the accelerator's sums hold 2,048"),
        (20, 5, ""),
        (20, 4, "its rows are scaled by shifts of 11 to 16, the accelerator's are 12 to 43"),
        (20, 31, ""),
        (20, 32, "its rows are scaled by shifts of 39 to 44, the accelerator's are 12 to 43"),
    ],
)
def test_attention(tokens: int, shift: int, reason: str) -> None:
    net = attention_of(tokens, shift)
    assert (reason in reasons_of(net)) == bool(reason)
    if not reason and tokens < 2048:
        compile_and_check(net.steps, net.image, engines()["zcu104"])


def norm_of(epsilon: int, shift: int, halvings: int) -> Net:
    net = Net(3)
    net.result(net.norm(net.source(5, 64, "int16"), plain=False))
    at = next(i for i, step in enumerate(net.steps) if isinstance(step.operator, ops.QLayerNorm))
    step = net.steps[at]
    halved = [
        replace(one, array=np.minimum(one.array, halvings)) if ".halvings" in one.name else one
        for one in step.constants
    ]
    net.steps[at] = replace(
        step, operator=replace(step.operator, epsilon=epsilon, shift=shift), constants=tuple(halved)
    )
    return net


@pytest.mark.parametrize(
    ("epsilon", "shift", "halvings", "reason"),
    [
        (1, 9, 7, ""),
        (1, 8, 7, "its rows are scaled by shifts of 11 to 36, the accelerator's are 12 to 43"),
        (2**21, 15, 7, ""),
        (2**21, 16, 7, "its rows are scaled by shifts of 26 to 44, the accelerator's are 12 to 43"),
        (2**21, 16, 6, ""),
    ],
)
def test_norm(epsilon: int, shift: int, halvings: int, reason: str) -> None:
    net = norm_of(epsilon, shift, halvings)
    assert (reason in reasons_of(net)) == bool(reason)
    if not reason:
        compile_and_check(net.steps, net.image, engines()["zcu104"])


def test_queries_and_keys_lie_on_the_chains_of_their_heads() -> None:
    """Three heads of 32 channels: the law's bits, from one SCORES of three heads, rows of scores in different lanes."""
    net = Net(4)
    stream = net.source(33, 24, "int16")
    net.result(net.attention(net.norm(stream), stream, 6, 32))
    spec = engines()["zcu104"]
    program = compile_and_check(net.steps, net.image, spec)
    words = decode_stream(program.tasks[0].segments[0].stream, spec.engine).instructions
    assert {(w["heads"], w["dst_stride"]) for w in words if w.name == "SCORES"} == {(3, 4)}
    # 65 keys are 6 granules, where all three rows would begin in one of six lanes.
    net = Net(4)
    stream = net.source(65, 24, "int16")
    net.result(net.attention(net.norm(stream), stream, 6, 32))
    words = decode_stream(
        compile_segments({"task": net.steps}, spec).tasks[0].segments[0].stream, spec.engine
    ).instructions
    assert {w["dst_stride"] for w in words if w.name == "SCORES"} == {8}
