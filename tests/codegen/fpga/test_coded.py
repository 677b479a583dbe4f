"""Networks whose weights are stored in 4 bits: a segment leaves the law's bits of the int8 weights they expand to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemtl import operators as ops
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.law_weights4 import CodedWeight, pack_codes
from edgemtl.hw.sim.cycle import Frame, simulate
from edgemtl.lowering.ir import CodedConstant, Step
from edgemtl.quantize.moments import experts_of
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.draws import encoders
from tests.codegen.fpga.rig import ENGINES, compile_and_check, engines, law
from tests.hw.coded import draw_codes, expanded

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def coded(steps: Sequence[Step], seed: int, kinds: tuple[type, ...] = (ops.QLinear, ops.QExperts)) -> list[Step]:
    """The steps with random codes for the weights of some; what they expand to is from the tests' own loops."""
    rng = np.random.default_rng(seed)
    return [_coded(step, rng) if isinstance(step.operator, kinds) else step for step in steps]


def _coded(step: Step, rng: np.random.Generator) -> Step:
    for expert in experts_of(step):
        weight = step.constant("weight", expert)
        codes, multipliers = draw_codes(rng, *weight.array.shape)
        stored = CodedWeight(len(codes), pack_codes(codes), multipliers)
        step = step.with_constant("weight", CodedConstant(weight.name, expanded(codes, multipliers), stored), expert)
    return step


def formats(steps: Sequence[Step], **options: object) -> set[int]:
    """The formats that LINEAR instructions of a program name."""
    (task,) = compile_segments({"task": steps}, engines()["zcu104"], **options).tasks
    streams = (decode_stream(segment.stream, engines()["zcu104"].engine) for segment in task.segments)
    return {word["format"] for stream in streams for word in stream.instructions if word.name == "LINEAR"}


@pytest.mark.parametrize("engine", ENGINES)
@settings(suppress_health_check=SLOW, max_examples=8)
@given(net=encoders(), kinds=st.sampled_from([(ops.QLinear, ops.QExperts), (ops.QLinear,), (ops.QExperts,)]))
def test_encoders(engine: str, net: Net, kinds: tuple[type, ...]) -> None:
    """Attention, MLPs, gates and experts, in one format or in both; what stays on the host CPU does so as in int8."""
    steps = coded(net.steps, 5, kinds)
    compile_and_check(steps, net.image, engines()[engine])


def mixture() -> Net:
    """A layer of experts."""
    net = Net(11)
    stream = net.source(19, 96, "int16")
    net.result(net.experts(net.norm(stream), stream, 7, 2, 192, skew=0.02))
    return net


@pytest.mark.parametrize("order", [ExpertOrder(by_token=True, cache=3), ExpertOrder(resident=True)])
def test_orders_of_experts(order: ExpertOrder) -> None:
    net = mixture()
    compile_and_check(coded(net.steps, 3), net.image, engines()["zcu104"], order=order)


def test_one_expert_in_8_bits_keeps_them_all_in_8() -> None:
    net = mixture()
    steps = coded(net.steps, 3, (ops.QExperts,))
    assert formats(steps) == {0, 1}
    (index, *_) = (i for i, step in enumerate(steps) if isinstance(step.operator, ops.QExperts))
    steps[index] = steps[index].with_constant("weight", net.steps[index].constant("weight", 4), 4)
    steps[index + 1] = net.steps[index + 1]
    assert formats(steps) == {0}
    compile_and_check(steps, net.image, engines()["zcu104"])


def test_experts_bring_half_the_bytes_and_less_time() -> None:
    """0.5 + 1 / 64 bytes a weight in memory and over its ports, for the same MACs."""
    net, spec = mixture(), engines()["zcu104"]
    routes, timings = law(net.steps, net.image).routes, []
    for steps in (net.steps, coded(net.steps, 3, (ops.QExperts,))):
        (segment,) = compile_segments({"task": steps}, spec).tasks[0].segments
        frame = Frame(decode_stream(segment.stream, spec.engine), routes, segment.early)
        timings.append(simulate([frame], spec)[0])
    eight, four = timings
    live = len(np.unique(routes[0]))
    # Two layers of 96 x 192; multipliers of 2 and 3 groups of rows; half a line of padding.
    assert eight.traffic["weights"] - four.traffic["weights"] == live * (96 * 192 - (2 * 192 + 3 * 96) - 32)
    assert four.macs == eight.macs
    assert four.cycles < eight.cycles
