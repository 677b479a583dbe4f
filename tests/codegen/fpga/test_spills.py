"""Rows that memory on chip has no room for go by way of DRAM: the same bits, in one segment."""

from __future__ import annotations

import pytest

from edgemtl.codegen.fpga.program import BoardProgram
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import WINDOWS
from edgemtl.hw.law import Finish
from tests.codegen.fpga.builder import WIDE, Net
from tests.codegen.fpga.rig import compile_and_check, engines, small_spec

KIB = 1024
LITTLE = small_spec(16, 16, {"residual": 6 * KIB, "input": 3 * KIB, "hidden": 12 * KIB})
"""Regions that hold no more than 96 rows of 32 channels."""


def layer_norm_and_mlp(net: Net, tokens: int) -> None:
    stream = net.patch(tokens, 40, 32, 5)
    stream = net.mlp(net.norm(stream), stream, 80, True)
    net.result(net.norm(stream, 1))


def layers_of_their_own(net: Net, tokens: int) -> None:
    """The residual is read again, and so is what the first layer writes."""
    stream = net.source(tokens, 32, "int16")
    x = net.norm(stream)
    first = net.linear(x, 48, net.finish(), table=True)
    second = net.linear(first, 32, WIDE, residual=stream)
    third = net.linear(first, 32, WIDE, residual=second)
    net.result(net.linear(net.norm(third), 7, WIDE, residual=net.linear(x, 7, WIDE)))
    net.result(stream)


def attention(net: Net, tokens: int) -> None:
    """Keys and values of 90 tokens are on chip for half of the heads."""
    stream = net.source(min(tokens, 90), 32, "int16")
    stream = net.attention(net.norm(stream), stream, 8, 16)
    net.result(net.mlp(net.norm(stream), stream, 30, False))


def scaled_attention(net: Net, tokens: int) -> None:
    """The layer behind gives bytes, and so does attention whose result two layers read."""
    x = net.norm(net.source(min(tokens, 100), 32, "int16"))
    mixed = net.mixed(x, 3, 12)
    other = net.linear(mixed, 16, Finish("int8"))
    net.result(net.linear(net.mixed(net.linear(mixed, 40, net.finish()), 2, 16), 24, net.finish()))
    net.result(other)


def experts(net: Net, tokens: int) -> None:
    stream = net.source(tokens, 16, "int16")
    x = net.norm(stream)
    net.result(net.experts(x, net.experts(x, None, 4, 2, 24), 4, 1, 8))
    net.result(stream)


NETS = (layer_norm_and_mlp, layers_of_their_own, attention, scaled_attention, experts)


def spilled(program: BoardProgram) -> bool:
    """Whether any segment stores rows that only it reads."""
    streams = (decode_stream(segment.stream, program.spec.engine) for segment in program.tasks[0].segments)
    words = (word for stream in streams for word in stream.instructions)
    return any(word.name == "STORE" and WINDOWS[word["window"]] == "scratch" for word in words)


@pytest.mark.parametrize("tokens", [1, 64, 197])
@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_rows_that_have_no_room_are_spilled(build, tokens: int) -> None:
    net = Net(tokens)
    build(net, tokens)
    program = compile_and_check(net.steps, net.image, LITTLE)
    left = {step.kind: step.reason for step in program.tasks[0].left if "float32" not in step.reason}
    if build is not experts or tokens < 197:
        assert left == {}
        assert len(program.tasks[0].segments) == 1
        assert spilled(program) or tokens < 197
        assert not spilled(program) or tokens > 1


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_rows_that_have_room_are_not_spilled(build) -> None:
    net = Net(3)
    build(net, 50)
    program = compile_and_check(net.steps, net.image, engines()["zcu104"])
    assert not spilled(program) or build is experts
