"""Memory on chip: what it depends on, what a budget makes of it, and who is told where it cannot hold."""

from __future__ import annotations

import re

import pytest

from edgemtl.codegen.fpga.compile import SHARES, compile_segments
from edgemtl.errors import BudgetError
from edgemtl.hw.spec import AcceleratorSpec
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.rig import check, compile_and_check, engines, small_spec

TOKENS = 48


def mixture(experts: int, top_k: int) -> Net:
    """A layer of experts behind an attention."""
    net = Net(3)
    stream = net.patch(TOKENS, 27, 64, 0)
    stream = net.attention(net.norm(stream), stream, 2, 32)
    net.result(net.experts(net.norm(stream), stream, experts, top_k, 64, skew=0.02))
    return net


SMALL = small_spec(64, 32, weight_ring_bytes=32 * 1024)
"""Its ring holds the gate of 256 experts."""
MIXTURES = [(experts, 2) for experts in (8, 16, 64, 256)] + [(8, top_k) for top_k in range(1, 9)] + [(256, 8)]


@pytest.mark.parametrize("spec", [engines()["zcu104"], engines()["ultra96v2"], SMALL], ids=lambda spec: spec.name)
def test_experts_and_choices_cost_nothing_but_their_routes(spec: AcceleratorSpec) -> None:
    made = {shape: compile_segments({"task": mixture(*shape).steps}, spec).on_chip for shape in MIXTURES}
    least = made[8, 1]
    for (experts, top_k), held in made.items():
        assert {**held, "routing": 0} == {**least, "routing": 0}
        assert 0 <= held["routing"] - least["routing"] <= 8 * (experts - 8) + 4 * TOKENS * (top_k - 1)


@pytest.mark.parametrize(("experts", "top_k"), [(256, 8), (64, 1)])
def test_the_largest_layers_of_experts_give_the_bits_of_the_law(experts: int, top_k: int) -> None:
    net = mixture(experts, top_k)
    program = compile_segments({"task": net.steps}, SMALL)
    check(program, {"task": net.steps}, net.image)


@pytest.mark.parametrize("tokens", [1, 5])
def test_few_tokens_may_have_many_experts(tokens: int) -> None:
    """The logits of one token take more than the share of the memory that so few tokens have."""
    net = Net(4)
    stream = net.source(tokens, 16, "int16")
    net.result(net.experts(net.norm(stream), stream, 256, 2, 8))
    compile_and_check(net.steps, net.image, engines()["ultra96v2"])


def test_budgets_shrink_blocks_until_nothing_more_can_be_smaller() -> None:
    """Every size that comes out is one byte less than the last one's, down to the refusal of the smallest."""
    net, spec = mixture(16, 2), engines()["ultra96v2"]
    program, sizes, refused = compile_segments({"task": net.steps}, spec), [], None
    while refused is None:
        check(program, {"task": net.steps}, net.image)
        sizes.append((program.share, sum(program.on_chip.values())))
        assert len(sizes) <= len(SHARES)
        try:
            program = compile_segments({"task": net.steps}, spec, budget=sizes[-1][1] - 1)
        except BudgetError as error:
            refused = error
    assert "the smallest program found needs" in str(refused)
    assert (refused.required, refused.available) == (sizes[-1][1], sizes[-1][1] - 1)
    held = [size for _, size in sizes]
    assert held == sorted(set(held), reverse=True)
    assert len(sizes) >= 3
    assert [share for share, _ in sizes] == sorted({share for share, _ in sizes}, reverse=True)
    assert sizes[-1][1] < 0.6 * sizes[0][1]
    # Far less than the weights, all of which stay in the board's memory.
    assert sizes[-1][1] < len(program.parameters)


@pytest.mark.parametrize("share", SHARES)
def test_every_share_gives_the_same_bits(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemtl.codegen.fpga.compile.SHARES", (share,))
    net = mixture(8, 2)
    stream = net.source(40, 48, "int16")
    stream = net.mlp(net.norm(stream), stream, 150, True)
    x = net.conv(net.enlarge(net.norm(stream), 5, 8), 10, 16, 20, net.finish())
    net.result(x)
    program = compile_segments({"task": net.steps}, engines()["zcu104"])
    assert program.share == share
    check(program, {"task": net.steps}, net.image)


def test_a_budget_is_of_all_tasks_together() -> None:
    """Each memory counts as the task that takes the most of it."""
    wide, long = Net(1), Net(2)
    a, b = wide.source(8, 80, "int16"), long.source(60, 8, "int16")
    wide.result(wide.mlp(wide.norm(a), a, 128, False))
    long.result(long.attention(long.norm(b), b, 1, 16))
    tasks = {"wide": wide.steps, "long": long.steps}
    both = compile_segments(tasks, engines()["ultra96v2"])
    alone = [compile_segments({name: tasks[name]}, engines()["ultra96v2"]).on_chip for name in tasks]
    assert both.on_chip == {name: max(held[name] for held in alone) for name in both.on_chip}
    for name, net in (("wide", wide), ("long", long)):
        check(compile_segments({name: tasks[name]}, engines()["ultra96v2"]), {name: tasks[name]}, net.image)


@pytest.mark.parametrize("region", ["residual", "hidden", "input", "queries", "constants"])
def test_what_a_region_has_no_room_for_stays_on_the_host_cpu(region: str) -> None:
    spec, net = small_spec(16, 16, {region: 16}, accumulator_rows=128), mixture(8, 2)
    (task,) = compile_and_check(net.steps, net.image, spec).tasks
    why = rf"^the accelerator has no room for it: task, segment \d+: memory '{region}' needs \d+ bytes"
    assert any(re.match(why, step.reason) for step in task.left)


def test_an_expert_that_the_ring_has_no_room_for_stays_on_the_host_cpu() -> None:
    spec = small_spec(16, 16, weight_ring_bytes=2048)
    net = Net(1)
    stream = net.source(8, 48, "int16")
    net.result(net.experts(net.norm(stream), stream, 4, 1, 48))
    (task,) = compile_and_check(net.steps, net.image, spec).tasks
    left = {step.kind: step.reason for step in task.left}
    assert re.search(r"weights that are used together needs \d+ bytes, the budget is 2048 bytes", left["QExperts"])
    assert "QLinear" not in left
