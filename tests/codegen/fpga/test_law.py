"""Random networks on several engines: a segment leaves the bits that the law makes of the same integer steps."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from edgemtl.hw.encoding import decode_stream
from edgemtl.operators import QBilinear, QConv2d
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.draws import encoders, heads
from tests.codegen.fpga.rig import ENGINES, compile_and_check, engines

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize("engine", ENGINES)
@settings(suppress_health_check=SLOW)
@given(net=encoders())
def test_encoders(engine: str, net: Net) -> None:
    """Nothing but the ends stays on the CPU, and heads that are no whole granules are padded."""
    spec = engines()[engine]
    (task,) = compile_and_check(net.steps, net.image, spec).tasks
    assert {step.kind for step in task.left} <= {"Quantise", "Dequantise"}


@pytest.mark.parametrize("engine", ENGINES)
@settings(suppress_health_check=SLOW)
@given(net=heads())
def test_heads(engine: str, net: Net) -> None:
    """Only layers over rows of pixels that are no whole lines, or too wide, stay on the CPU."""
    spec = engines()[engine]
    (task,) = compile_and_check(net.steps, net.image, spec).tasks
    left = [step.reason for step in task.left if step.kind == "QConv2d"]
    assert all("is no whole number of 64-byte lines" in why or "the accumulators hold" in why for why in left)
    widths = [step.operator.width for step in net.steps if isinstance(step.operator, QConv2d | QBilinear)]
    if all(width % 4 == 0 and 2 * width <= spec.engine.accumulator_rows for width in widths):
        assert (left, len(task.segments)) == ([], 1)


def test_sums_of_experts_end_for_all_who_read_them() -> None:
    """A LayerNorm of the rows behind the class token makes rows of them; another block reads the class token's too."""
    net = Net(1)
    stream = net.source(17, 16, "int16")
    stream = net.experts(net.norm(stream), stream, 4, 2, 16)
    head = net.norm(stream, 1)
    stream = net.mlp(net.norm(stream), stream, 16, False)
    net.result(stream)
    net.result(head)
    compile_and_check(net.steps, net.image, engines()["ultra96v2"])


@pytest.mark.parametrize("tokens", [20, 70, 150])
def test_padded_rows_of_scores_hold_the_same_bits(tokens: int) -> None:
    """Two tiles of keys at once write four granules of each of three rows: they lie in lanes of their own, padded."""
    net = Net(tokens)
    stream = net.source(tokens, 96, "int16")
    net.result(net.attention(net.norm(stream), stream, 3, 32))
    spec = engines()["zcu104x2"]
    ((segment,),) = (task.segments for task in compile_and_check(net.steps, net.image, spec).tasks)
    instructions = decode_stream(segment.stream, spec.engine).instructions
    strides = {instruction["dst_stride"] for instruction in instructions if instruction.name == "SCORES"}
    assert strides == {{20: 4, 70: 8, 150: 16}[tokens]}
    # Keys of 16 bits need 2 granules for each 32, which would write two rows to one lane in a cycle.
    (stride,) = strides
    least = 2 * -(-tokens // 32)
    assert least < stride
    assert len({(row * least + granule) % 12 for row in range(3) for granule in range(4)}) < 12
    assert len({(row * stride + granule) % 12 for row in range(3) for granule in range(4)}) == 12
