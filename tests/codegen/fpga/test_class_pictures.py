"""Classes of pixels compared beside the convolution that leaves their logits: the law's bits, and nothing in DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import BoardProgram
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.sim.cycle import Frame, simulate
from tests.codegen.fpga.builder import WIDE, Net
from tests.codegen.fpga.rig import ENGINES, compile_and_check, engines, small_spec

QUICK = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
KIB = 1024


@st.composite
def heads(draw: st.DrawFn) -> tuple[Net, int, int]:
    """A convolution, upsampled before or not, with a linear layer or not, and classes; height and width of these."""
    net = Net(draw(st.integers(0, 2**20)))
    height, width, few = draw(st.integers(1, 33)), draw(st.integers(1, 12)), st.integers(1, 40)
    x = net.source(height * width, draw(few), "int8")
    if draw(st.booleans()):
        x, height, width = net.enlarge(x, height, width), 2 * height, 2 * width
    how = st.sampled_from([WIDE, net.finish()])
    if draw(st.booleans()):
        x = net.linear(net.conv(x, height, width, draw(few), net.finish()), draw(few), draw(how))
    else:
        x = net.conv(x, height, width, draw(few), draw(how))
    enlarge = draw(st.booleans())
    net.widened(net.classes(x, height, width, enlarge))
    return net, (1 + enlarge) * height, (1 + enlarge) * width


def layers_of(program: BoardProgram) -> list[str]:
    (task,) = program.tasks
    return [layer.name for segment in task.segments for layer in segment.layers]


def words_of(program: BoardProgram, name: str) -> Sequence[Instruction]:
    ((segment,),) = (task.segments for task in program.tasks)
    return [word for word in decode_stream(segment.stream, program.spec.engine).instructions if word.name == name]


@pytest.mark.parametrize("engine", ENGINES)
@QUICK
@given(heads())
def test_classes_of_rows_on_chip(engine: str, head: tuple[Net, int, int]) -> None:
    """Small engines may cut rows, or have no room: then `picture` and `classes` are layers of their own."""
    net, height, width = head
    program = compile_and_check(net.steps, net.image, engines()[engine])
    (task,) = program.tasks
    assert {step.kind for step in task.left} <= {"Quantise", "Generic"} | ({"QConv2d"} if "x" in engine else set())
    if layers_of(program) != ["class picture"]:
        assert engine in ("16 x 16", "64 x 32")
        return
    (segment,) = task.segments
    assert segment.windows.scratch == 0
    assert segment.windows.output == height * -(-width // LINE_BYTES) * LINE_BYTES
    parts = [(word["first"], word["first"] + word["rows"]) for word in words_of(program, "CLASSES")]
    assert (parts[0][0], parts[-1][1]) == (0, height)
    assert all(above[1] == below[0] for above, below in pairwise(parts))


@pytest.mark.parametrize("enlarge", [False, True])
@pytest.mark.parametrize("side", [8, 62, 63, 200])
def test_blocks_of_any_number_of_rows(side: int, enlarge: bool) -> None:
    """Narrow images, of which more rows than an instruction counts would fit."""
    net = Net(side)
    logits = net.conv(net.source(side * 3, 8, "int8"), side, 3, 5, net.finish())
    net.widened(net.classes(logits, side, 3, enlarge))
    assert layers_of(compile_and_check(net.steps, net.image, engines()["zcu104"])) == ["class picture"]


def test_logits_that_another_step_reads_are_stored() -> None:
    net = Net(3)
    logits = net.conv(net.source(96, 24, "int8"), 8, 12, 19, WIDE)
    net.widened(net.classes(logits, 8, 12, True))
    net.result(logits)
    assert layers_of(compile_and_check(net.steps, net.image, engines()["zcu104"])) == ["picture", "classes"]


@pytest.mark.parametrize(("residual", "layers"), [(40, ["class picture"]), (32, ["picture", "classes"])])
def test_without_room_for_three_blocks_classes_are_a_layer_of_their_own(residual: int, layers: list[str]) -> None:
    """Three rows of 12 KiB are on chip at once where the image is upsampled behind them; two where it is stored."""
    net = Net(4)
    logits = net.conv(net.source(8 * 48, 16, "int8"), 8, 48, 256, net.finish(), kernel=(1, 1))
    net.widened(net.classes(logits, 8, 48, True))
    sizes = {"residual": residual * KIB, "input": 64 * KIB}
    spec = small_spec(16, 16, sizes, accumulator_rows=48)
    assert layers_of(compile_and_check(net.steps, net.image, spec)) == layers


def test_rows_in_parts_are_stored_before_they_are_compared() -> None:
    net = Net(5)
    logits = net.conv(net.source(4 * 48, 16, "int8"), 4, 48, 16, net.finish())
    net.widened(net.classes(logits, 4, 48, True))
    assert layers_of(compile_and_check(net.steps, net.image, engines()["16 x 16"])) == ["picture", "classes"]


@pytest.mark.parametrize("board", ["zcu104", "zcu104x2", "ultra96v2"])
def test_the_vector_unit_compares_while_the_matrix_unit_computes(board: str) -> None:
    """A frame takes longer than one that stores the logits by less than a quarter of what comparing takes."""
    spec, cycles = engines()[board], []
    for classes in (False, True):
        net = Net(6)
        logits = net.conv(net.source(64 * 64, 192, "int8"), 64, 64, 32, net.finish())
        if classes:
            net.widened(net.classes(logits, 64, 64, True))
        else:
            net.result(logits)
        program = compile_segments({"task": net.steps}, spec)
        ((segment,),) = (task.segments for task in program.tasks)
        (timing,) = simulate([Frame(decode_stream(segment.stream, spec.engine), (), segment.early)], spec)
        cycles.append(timing.cycles)
    comparing = 128 * 128 * -(-32 // spec.engine.vector_lanes)
    assert cycles[1] - cycles[0] < comparing / 4
