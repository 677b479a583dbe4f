"""Tokens of compiled streams: enough in any order of execution, and hardly one too many."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest

from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import FpgaProgram, SegmentCall
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.errors import IntegrityError
from edgemtl.hw.encoding import decode_stream, encode_stream
from edgemtl.hw.sim.functional import execute
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.rig import Law, get, law, small_spec, windows
from tests.hw.sim.functional.rig import tokens_of, without

SAMPLE = 60
"""Tokens that are taken away one by one."""
SPEC = small_spec(16, 16, accumulator_rows=128, weight_ring_bytes=32 * 1024)


def encoder() -> Net:
    """Blocks of every kind; every expert gets every token, so that all words have work and queues overflow."""
    net = Net(1)
    stream = net.patch(40, 30, 32, 1)
    stream = net.attention(net.norm(stream, plain=False), stream, 2, 16)
    stream = net.mlp(net.norm(stream), stream, 80, True)
    stream = net.experts(net.norm(stream), stream, 2, 2, 24)
    net.result(net.norm(stream, 1))
    return net


def head() -> Net:
    """An image that is enlarged twice, with a layer of its pixels."""
    net = Net(2)
    x = net.norm(net.source(8 * 4, 16, "int16"))
    x = net.conv(net.enlarge(x, 8, 4), 16, 8, 16, net.finish())
    x = net.conv(net.enlarge(x, 16, 8), 32, 16, 16, net.finish())
    net.result(net.linear(x, 16, net.finish()))
    return net


def in_token_order() -> Net:
    """Experts one token at a time; every visit needs another expert than the visit before."""
    net = Net(3)
    stream = net.source(6, 32, "int16")
    net.result(net.experts(net.norm(stream), stream, 9, 2, 24))
    (routes,) = law(net.steps, net.image).routes
    assert (np.diff(routes.reshape(-1)) != 0).all()
    return net


CASES = {
    "encoder": (encoder, ExpertOrder()),
    "head": (head, ExpertOrder()),
    "cache": (in_token_order, ExpertOrder(by_token=True, cache=1)),
    "no cache": (in_token_order, ExpertOrder(by_token=True, cache=0)),
}


@cache
def compiled(name: str) -> tuple[FpgaProgram, Law]:
    make, order = CASES[name]
    net = make()
    return compile_segments({"task": net.steps}, SPEC, order=order), law(net.steps, net.image)


def output(name: str, stream: bytes, **options: object) -> dict[str, np.ndarray]:
    """What a stream leaves that stands for the compiled one."""
    program, known = compiled(name)
    (task,) = program.tasks
    (step,) = (step for step in task.steps if isinstance(step.operator, SegmentCall))
    held = windows(task.segments[0], step.inputs, program.parameters, known)
    execute(stream, SPEC, held, **options)
    return {rows.buffer: get(held.output, rows) for rows in task.segments[0].outputs}


@pytest.mark.parametrize("name", CASES)
def test_any_order_of_units_gives_the_same_bits(name: str) -> None:
    program, known = compiled(name)
    stream = program.tasks[0].segments[0].stream
    for pick in (lambda ready: ready[-1], random.Random(1).choice, random.Random(2).choice):
        for buffer, values in output(name, stream, pick=pick).items():
            np.testing.assert_array_equal(values, known.values[buffer].reshape(values.shape))


@pytest.mark.parametrize("name", CASES)
def test_nearly_every_token_is_missed(name: str) -> None:
    """Without one of them the machine sees a hazard or stands still, whatever order it executes words in."""
    program, _ = compiled(name)
    stream = decode_stream(program.tasks[0].segments[0].stream, SPEC.engine)
    words = list(stream.instructions)
    tokens = tokens_of(words)
    assert len(tokens) > 20
    chosen = tokens if len(tokens) <= SAMPLE else random.Random(5).sample(tokens, SAMPLE)
    useless = []
    for token in chosen:
        changed = encode_stream(without(words, token), SPEC.engine, stream.ring_lines)
        try:
            output(name, changed)
        except IntegrityError:
            continue
        useless.append(token)
    assert len(useless) <= 0.05 * len(chosen), [(words[a].name, words[b].name, a, b) for a, b, _, _ in useless]
