"""Compiled streams on the cycle simulator: what they move, and frames of two tasks in turn."""

from __future__ import annotations

import pytest

from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import BoardProgram
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import INSTRUCTION_BYTES, LINE_BYTES
from edgemtl.hw.sim.cycle import Frame, rate, simulate
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.rig import Law, engines, law

BOARDS = ("zcu104", "ultra96v2")


def depth() -> Net:
    """Patches, attention, experts and a head."""
    net = Net(1)
    stream = net.patch(128, 192, 64, 1)
    stream = net.attention(net.norm(stream), stream, 2, 32)
    stream = net.experts(net.norm(stream), stream, 12, 2, 64, skew=0.05)
    stream = net.mlp(net.norm(stream), stream, 128, True)
    net.result(net.conv(net.enlarge(net.norm(stream, 1), 8, 16), 16, 32, 64, net.finish()))
    return net


def edges() -> Net:
    """Another network of other sizes."""
    net = Net(2)
    stream = net.patch(128, 192, 64, 0)
    for _ in range(4):
        stream = net.mlp(net.norm(stream), stream, 512, True)
    net.result(stream)
    return net


def compiled(board: str, *nets: Net) -> tuple[BoardProgram, list[Frame], list[Law]]:
    """The tasks of one program, with a frame and the law of each."""
    tasks = {str(i): net.steps for i, net in enumerate(nets)}
    gate = next((s.inputs[0].buffer for s in nets[0].steps if hasattr(s.operator, "candidates")), "")
    program = compile_segments(tasks, engines()[board], early={"0": {gate: (3, 1)}})
    known = [law(net.steps, net.image) for net in nets]
    frames = [
        Frame(decode_stream(task.segments[0].stream, program.spec.engine), held.routes, task.segments[0].early)
        for task, held in zip(program.tasks, known, strict=True)
    ]
    return program, frames, known


@pytest.mark.parametrize("board", BOARDS)
def test_weights_moved_are_those_of_the_stream_words(board: str) -> None:
    """Of the experts that the router names, those that have tokens."""
    net = depth()
    _, (frame,), (known,) = compiled(board, net)
    (routes,) = known.routes
    words = [word for word in frame.stream.instructions if word.name == "STREAM"]
    named = [word for word in words if word["slot"]]
    with_tokens = set(routes.reshape(-1).tolist()) - {3, 1}
    assert len(named) == 10
    lines = sum(word["lines"] for word in words if not word["slot"]) + len(with_tokens) * named[0]["lines"]
    (timing,) = simulate([frame], engines()[board])
    assert timing.traffic["weights"] == lines * LINE_BYTES
    assert timing.traffic["instructions"] == INSTRUCTION_BYTES * (len(frame.stream.instructions) + 2)


@pytest.mark.parametrize("board", BOARDS)
def test_products_that_count_are_those_of_the_model(board: str) -> None:
    program, (frame,), _ = compiled(board, depth())
    (timing,) = simulate([frame], engines()[board])
    assert timing.macs == sum(layer.macs for layer in program.tasks[0].segments[0].layers)


@pytest.mark.parametrize("board", BOARDS)
def test_two_tasks_in_turn_cost_what_each_costs_alone(board: str) -> None:
    """Switching is a pointer: weights of the next frame come in while this one ends, whosever they are."""
    spec = engines()[board]
    _, frames, _ = compiled(board, depth(), edges())
    alone = sum(rate(frame.stream, frame.routes, spec, frame.early).cycles for frame in frames)
    timings = simulate(frames * 4, spec)
    # Less is possible: what one frame leaves of the ring when it ends suits the other better.
    assert 0.95 * alone <= timings[5].end - timings[3].end <= 1.005 * alone
    assert [timing.traffic for timing in timings] == [timings[0].traffic, timings[1].traffic] * 4


def test_a_frame_takes_no_less_than_its_products_and_its_bytes() -> None:
    spec = engines()["zcu104"]
    _, frames, _ = compiled("zcu104", depth(), edges())
    for frame in frames:
        timing = rate(frame.stream, frame.routes, spec, frame.early)
        assert timing.cycles >= timing.macs / spec.engine.macs_per_cycle
        assert timing.cycles >= 0.99 * sum(timing.traffic.values()) / spec.sustained_bytes_per_cycle
