"""Experts in another order or fetched before they are asked for: the bits stay, and a cache loads what it must."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import BoardProgram
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.codegen.fpga.weights import expert_lines
from edgemtl.errors import BudgetError
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import LINE_BYTES, REGIONS
from edgemtl.hw.sim.cycle import Frame, simulate
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.draws import encoders, mixtures
from tests.codegen.fpga.rig import check, compile_and_check, engines, law, small_spec

DIM, HIDDEN, EXPERTS, TOKENS, TOP_K = 32, 24, 7, 19, 2


def two_layers(skew: float = 0.02) -> Net:
    """Two layers of experts, the second of some experts only."""
    net = Net(11)
    stream = net.source(TOKENS, DIM, "int16")
    stream = net.experts(net.norm(stream), stream, EXPERTS, TOP_K, HIDDEN, skew=skew)
    stream = net.experts(net.norm(stream), stream, EXPERTS, TOP_K, HIDDEN, candidates=(0, 2, 3, 6), skew=skew)
    net.result(stream)
    return net


def gates(net: Net) -> list[tuple[str, int]]:
    """The gate of every router, and how many candidates it has."""
    routers = [step for step in net.steps if hasattr(step.operator, "candidates")]
    return [(step.inputs[0].buffer, len(step.operator.candidates)) for step in routers]


def weight_bytes(program: BoardProgram, routes: Sequence[np.ndarray]) -> int:
    """Bytes of weights that one frame brings from memory."""
    (segment,) = program.tasks[0].segments
    frame = Frame(decode_stream(segment.stream, program.spec.engine), tuple(routes), segment.early)
    return simulate([frame], program.spec)[0].traffic["weights"]


def fixed_bytes(program: BoardProgram) -> int:
    """The same without experts that the router names."""
    (segment,) = program.tasks[0].segments
    words = decode_stream(segment.stream, program.spec.engine).instructions
    return LINE_BYTES * sum(word["lines"] for word in words if word.name == "STREAM" and not word["slot"])


def misses(visits: Sequence[int], places: int) -> int:
    """Visits of an expert that is not among the ``places`` used last."""
    held, count = [], 0
    for expert in visits:
        count += expert not in held
        held = [expert, *(other for other in held if other != expert)][:places]
    return count


@pytest.mark.parametrize("engine", ["zcu104", "16 x 16"])
@given(data=st.data())
def test_any_early_experts_give_the_same_bits(engine: str, data: st.DataObject) -> None:
    """In any order, none or all of them, with tokens or without."""
    net = Net(data.draw(st.integers(0, 99)))
    stream = net.source(data.draw(st.integers(1, 40)), DIM, "int16")
    for _ in range(2):
        stream = data.draw(mixtures(net, net.norm(stream), stream))
    net.result(stream)
    early = {
        gate: tuple(data.draw(st.lists(st.integers(0, count - 1), unique=True), label="early"))
        for gate, count in gates(net)
    }
    program = compile_and_check(net.steps, net.image, engines()[engine], early={"task": early})
    assert program.tasks[0].segments[0].early == tuple(early.values())


def test_early_experts_are_fetched_whether_they_get_tokens_or_not() -> None:
    net = two_layers(skew=2.0)
    routes = law(net.steps, net.image).routes
    used = [sorted(set(np.unique(made).tolist())) for made in routes]
    lines = expert_lines(engines()["zcu104"].engine, DIM, HIDDEN, DIM, (True, False))
    for wrong in (True, False):
        early, wanted = {}, 0
        for (gate, count), mine in zip(gates(net), used, strict=True):
            others = [expert for expert in range(count) if expert not in mine]
            assert others
            early[gate] = tuple(others if wrong else mine)
            wanted += len(others) + len(mine) if wrong else len(mine)
        program = compile_and_check(net.steps, net.image, engines()["zcu104"], early={"task": early})
        fetched = sum(len(held) for held in early.values())
        assert weight_bytes(program, routes) == fixed_bytes(program) + (wanted - fetched) * lines * LINE_BYTES
        words = decode_stream(program.tasks[0].segments[0].stream, program.spec.engine).instructions
        named = [word for word in words if word.name == "STREAM" and word["lines"] == lines and not word["slot"]]
        assert len(named) == fetched


@pytest.mark.parametrize("cache", [0, 1, 2, 5])
def test_token_order_gives_the_same_bits_and_loads_what_a_cache_misses(cache: int) -> None:
    net, spec = two_layers(), engines()["zcu104"]
    program = compile_and_check(net.steps, net.image, spec, order=ExpertOrder(by_token=True, cache=cache))
    for image in (net.image, net.other_image(1)):
        check(program, {"task": net.steps}, image)
        routes = law(net.steps, image).routes
        loads = sum(misses(made.reshape(-1).tolist(), cache) for made in routes)
        lines = expert_lines(spec.engine, DIM, HIDDEN, DIM, (True, False))
        assert weight_bytes(program, routes) == fixed_bytes(program) + loads * lines * LINE_BYTES
        assert cache or loads == 2 * TOKENS * TOP_K


@given(net=encoders(12), cache=st.integers(1, 3))
def test_token_order_of_any_network(net: Net, cache: int) -> None:
    order = ExpertOrder(by_token=True, cache=cache)
    compile_and_check(net.steps, net.image, small_spec(64, 32, weight_ring_bytes=2**17), order=order)


def test_an_expert_begins_before_the_one_in_front_ends() -> None:
    """Where the ring holds two: its first layer does not wait for the second layer's results."""
    wide, narrow = engines()["zcu104"], small_spec(16, 16, accumulator_rows=128, weight_ring_bytes=4096)
    for spec, wanted in ((wide, [1, 2, 1, 3, 2, 4, 3, 4]), (narrow, [1, 1, 2, 2, 3, 3, 4, 4])):
        net = Net(5)
        stream = net.source(6, 32, "int16")
        net.result(net.experts(net.norm(stream), stream, 4, 2, 40))
        program = compile_and_check(net.steps, net.image, spec)
        words = decode_stream(program.tasks[0].segments[0].stream, spec.engine).instructions
        assert [w["slot"] for w in words if w.name == "LINEAR" and w["slot"] and not w["skip"]] == wanted


def test_early_lists_count_for_nothing_in_token_order() -> None:
    net, order = two_layers(), ExpertOrder(by_token=True, cache=2)
    early = {"task": {gate: (1,) for gate, _ in gates(net)}}
    (a,), (b,) = (
        compile_segments({"task": net.steps}, engines()["zcu104"], early=e, order=order).tasks for e in ({}, early)
    )
    assert a.segments[0].stream == b.segments[0].stream


def test_all_experts_at_once_give_the_same_bits() -> None:
    net = two_layers()
    program = compile_and_check(net.steps, net.image, engines()["zcu104"], order=ExpertOrder(resident=True))
    assert program.tasks[0].segments[0].early == (tuple(range(EXPERTS)), tuple(range(4)))


def test_a_cache_that_leaves_no_ring_is_refused() -> None:
    spec = small_spec(16, 16)
    needed = 9 * expert_lines(spec.engine, DIM, HIDDEN, DIM, (True, False)) * LINE_BYTES
    with pytest.raises(BudgetError, match=r"a cache of 9 experts .* smallest weight ring needs \d+") as caught:
        compile_segments({"task": two_layers().steps}, spec, order=ExpertOrder(by_token=True, cache=9))
    # A tile of the gate's columns with its biases and scales, and a table at most.
    assert caught.value.required - needed == 16 * (DIM + 8) + 256
    assert caught.value.available == spec.engine.weight_ring_bytes


@pytest.mark.parametrize("order", [ExpertOrder(), ExpertOrder(by_token=True)])
def test_an_expert_reads_hidden_rows_and_results_from_different_copies_of_the_scores(order: ExpertOrder) -> None:
    """While COMBINE reads the results of an expert's first rows, its second layer reads the hidden rows of others."""
    spec = engines()["zcu104"]
    program = compile_segments({"task": two_layers().steps}, spec, order=order)
    words = decode_stream(program.tasks[0].segments[0].stream, spec.engine).instructions
    hidden = [REGIONS[w["src_region"]] for w in words if w.name == "LINEAR" and w["slot"] and not w["gather"]]
    results = [REGIONS[w["src_region"]] for w in words if w.name == "COMBINE"]
    assert hidden[:4] == ["scores0", "scores1", "scores0", "scores1"]
    assert [{a, b} for a, b in zip(hidden, results, strict=True)] == [{"scores0", "scores1"}] * len(results)
