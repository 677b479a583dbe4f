"""Where buffers lie: apart while they live, inside their regions, and every time in the same place."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings

from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.instructions import At, OnChipBuffer, PendingInstruction, RowRange
from edgemtl.codegen.fpga.place import Placement, place
from edgemtl.codegen.fpga.program import FpgaProgram
from edgemtl.errors import BudgetError
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import REGIONS
from edgemtl.hw.regions import capacities
from edgemtl.hw.spec import Engine
from edgemtl.schedule import ALIGNMENT
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.draws import encoders, heads
from tests.codegen.fpga.rig import ENGINES, engines


def check_placement(placement: Placement, engine: Engine) -> None:
    """Two buffers of a region never share a byte while both live, and all lie inside."""
    sizes, granule = capacities(engine), engine.array_columns
    for region in REGIONS:
        plan = placement.plans[region]
        held = [buffer for buffer in placement.buffers if buffer.region == region]
        ends = [plan.offsets[b.name] + b.granules * granule for b in held]
        assert max(ends, default=0) <= plan.arena_bytes <= sizes[region]
        assert plan.arena_bytes - max(ends, default=0) < ALIGNMENT
        assert plan.lower_bound_bytes <= plan.arena_bytes
        for index, a in enumerate(held):
            start = plan.offsets[a.name]
            assert start % granule == 0
            assert placement.addresses[a.name] * granule == start
            for b in held[:index]:
                lives, others = placement.lives[a.name], placement.lives[b.name]
                together = lives[0] <= others[1] and others[0] <= lives[1]
                apart = start >= ends[held.index(b)] or plan.offsets[b.name] >= ends[index]
                assert apart or not together, (a, b)


def check_addresses(program: FpgaProgram) -> None:
    """Every place that a word names lies in a buffer that lives then."""
    for segment in (segment for task in program.tasks for segment in task.segments):
        check_placement(segment.placement, program.spec.engine)
        held = segment.placement
        for index, instruction in enumerate(decode_stream(segment.stream, program.spec.engine).instructions):
            for name in (name for name in instruction.operands if f"{name}_region" in instruction.operands):
                if not {
                    "add": instruction.operands.get("residual"),
                    "from": instruction.operands.get("parameters", 1),
                }.get(name, 1):
                    continue
                region, address = REGIONS[instruction[f"{name}_region"]], instruction[name]
                starts = [
                    held.addresses[b.name]
                    for b in held.buffers
                    if b.region == region
                    and held.lives[b.name][0] <= index <= held.lives[b.name][1]
                    and held.addresses[b.name] <= address < held.addresses[b.name] + b.granules
                ]
                assert len(starts) == 1, (index, instruction)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(encoder=encoders(), head=heads())
def test_buffers_of_a_region_lie_apart_while_they_live(engine: str, encoder: Net, head: Net) -> None:
    check_addresses(compile_segments({"encoder": encoder.steps, "head": head.steps}, engines()[engine]))


def test_a_buffer_lives_from_its_first_word_to_its_last() -> None:
    a, b = OnChipBuffer("a", "input", 4), OnChipBuffer("b", "input", 4)

    def touched(buffer: OnChipBuffer) -> tuple[RowRange, ...]:
        return (RowRange(At(buffer), 4, 1, 1),)

    instructions = [
        PendingInstruction("LOAD", 0, {}, {}, (), touched(a)),
        PendingInstruction("NORM", 0, {}, {}, touched(a), touched(b)),
        PendingInstruction("STORE", 0, {}, {}, touched(b)),
        PendingInstruction("STORE", 0, {}, {}, touched(a)),
    ]
    sizes = dict.fromkeys(REGIONS, 64) | {"input": 8 * 16}
    made = place(instructions, sizes, 16, "here")
    assert made.lives == {"a": (0, 3), "b": (1, 2)}
    assert {made.addresses["a"], made.addresses["b"]} == {0, 4}
    with pytest.raises(BudgetError, match=r"here: memory 'input' needs 128 bytes, the budget is 127 bytes, 1 bytes"):
        place(instructions, sizes | {"input": 127}, 16, "here")


def network() -> Net:
    """A bit of everything."""
    net = Net(21)
    stream = net.patch(35, 30, 48, 1)
    stream = net.attention(net.norm(stream, plain=False), stream, 2, 32)
    stream = net.experts(net.norm(stream), stream, 9, 2, 40)
    net.result(net.conv(net.enlarge(net.norm(stream, 1), 5, 7), 10, 14, 21, net.finish(), table=True))
    return net


def digests() -> list[str]:
    """Of the stream and of the parameters."""
    made = compile_segments({"task": network().steps}, engines()["zcu104"])
    return [hashlib.sha256(part).hexdigest() for part in (made.tasks[0].segments[0].stream, made.parameters)]


def test_the_same_network_gives_the_same_bytes_in_every_process() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    call = "from tests.codegen.fpga.test_place import digests; print(*digests())"
    other = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.split() == digests() == digests()
