"""Layers too large for an instruction or a memory: they stay on the host CPU, with the reason."""

from __future__ import annotations

import re
from dataclasses import replace

from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.codegen.fpga.program import BoardProgram
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.regions import ROW_STATES
from edgemtl.hw.spec import AcceleratorSpec, read_spec
from edgemtl.lowering.ir import Step
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.rig import engines, small_spec


def roomy() -> AcceleratorSpec:
    """A board whose buffers hold what no operand can say."""
    made = read_spec("zcu104")
    held = {
        name: replace(getattr(made.engine.buffers, name), bytes=4 * 2**20) for name in ("residual", "hidden", "input")
    }
    return replace(made, engine=replace(made.engine, buffers=replace(made.engine.buffers, **held)))


def wide_mlp(hidden: int) -> Net:
    """An MLP between two small ones."""
    net = Net(1)
    stream = net.source(4, 16, "int16")
    for width in (20, hidden, 20):
        stream = net.mlp(net.norm(stream), stream, width, False)
    net.result(stream)
    net.steps[:] = [_with_half_the_weights(step) for step in net.steps]
    return net


def _with_half_the_weights(step: Step) -> Step:
    """The same layer with smaller weights, so that sums over 8,192 of them keep below 2^26."""
    halved = [replace(one, array=one.array // 2) if ".weight" in one.name else one for one in step.constants]
    return replace(step, constants=tuple(halved))


def left_of(program: BoardProgram) -> dict[str, str]:
    """Why steps stay, by the last node of each; without those that work in float32."""
    (task,) = program.tasks
    return {step.origin[-1]: step.reason for step in task.left if "float32" not in step.reason}


def test_a_layer_wider_than_a_counter_stays() -> None:
    """8,191 columns are the most that 13 bits count."""
    net = wide_mlp(8192)
    second = net.steps[6].origin[0]
    left = left_of(compile_segments({"task": net.steps}, roomy()))
    assert set(left) == {second}
    assert f"{second}: no instruction can hold it; LINEAR.k must be in 0..8191, not 8192" in left[second]
    assert left_of(compile_segments({"task": wide_mlp(8191).steps}, roomy())) == {}


def test_a_row_of_an_image_that_fits_nowhere_stays() -> None:
    net = Net(1)
    x = net.norm(net.source(4 * 12, 32, "int16"))
    net.result(net.conv(net.enlarge(x, 4, 12), 8, 24, 512, net.finish()))
    spec = small_spec(16, 16, {"residual": 6 * 1024}, accumulator_rows=128, weight_ring_bytes=2**17)
    name = next(step.origin[0] for step in net.steps if type(step.operator).__name__ == "QConv2d")
    # Two buffers of 24 pixels of 512 bytes.
    why = rf"has no room for it: {name}: results, .* of one row needs {2 * 24 * 512} bytes, the budget is"
    assert re.search(why, left_of(compile_segments({"task": net.steps}, spec))[name])


def test_the_rows_around_a_row_must_fit_too() -> None:
    net = Net(1)
    net.result(net.conv(net.source(8 * 24, 64, "int8"), 8, 24, 16, net.finish()))
    spec = small_spec(16, 16, {"hidden": 4 * 1024}, accumulator_rows=128)
    name = net.steps[1].origin[0]
    why = left_of(compile_segments({"task": net.steps}, spec))[name]
    assert re.search(rf"{name}: rows, .* of one row needs {4 * 24 * 64} bytes", why)


def test_an_engine_of_few_accumulators_gets_smaller_blocks() -> None:
    """Every word of the matrix unit keeps to them: this engine has room for 24 rows, where blocks are 128."""
    net = Net(2)
    stream = net.patch(100, 20, 32, 1)
    stream = net.attention(net.norm(stream), stream, 2, 16)
    stream = net.experts(net.norm(stream), stream, 4, 2, 16)
    net.result(net.mlp(net.norm(stream), stream, 16, False))
    spec = engines()["16 x 16"]
    program = compile_segments({"task": net.steps}, spec)
    words = decode_stream(program.tasks[0].segments[0].stream, spec.engine).instructions
    assert max(w["rows"] for w in words if w.unit == "matrix") <= spec.engine.accumulator_rows == 24


def test_attention_keeps_to_the_row_state_beside_its_scores() -> None:
    """Scores, accumulators and queries of this engine would hold 534 queries of three heads."""
    made = read_spec("zcu104")
    held = {name: replace(getattr(made.engine.buffers, name), bytes=2**22) for name in ("residual", "hidden", "scores")}
    held["queries"] = replace(made.engine.buffers.queries, bytes=2**21)
    engine = replace(made.engine, accumulator_rows=2047, buffers=replace(made.engine.buffers, **held))
    net = Net(3)
    stream = net.source(1068, 8, "int16")
    net.result(net.attention(net.norm(stream), stream, 12, 32))
    program = compile_segments({"task": net.steps}, replace(made, engine=engine))
    words = decode_stream(program.tasks[0].segments[0].stream, engine).instructions
    rows = [word["rows"] for word in words if word.name == "SOFTMAX"]
    assert ROW_STATES / 2 < max(rows) <= ROW_STATES
