"""Networks too large for an instruction or a memory: refused, with the layer's name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgemtl.codegen.fpga.compile import compile_segments, compile_task
from edgemtl.codegen.fpga.instructions import ParameterWindow
from edgemtl.codegen.fpga.site import ExpertOrder
from edgemtl.errors import BudgetError, ConfigError
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.regions import ROW_STATES, capacities
from edgemtl.hw.spec import AcceleratorSpec, read_spec
from edgemtl.lowering.ir import Step
from edgemtl.operators import QConv2d
from edgemtl.schedule.tiling import limits
from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.rig import compile_and_check, engines, small_spec


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


def test_a_layer_wider_than_a_counter_is_refused_by_name() -> None:
    """8,191 columns are the most that 13 bits count."""
    net = wide_mlp(8192)
    first, second = net.steps[5].origin[0], net.steps[6].origin[0]
    with pytest.raises(
        ConfigError, match=rf"^{first}, {second}: no instruction can hold it; LINEAR.k must be in 0..8191, not 8192"
    ) as caught:
        compile_segments({"task": net.steps}, roomy())
    assert str(caught.value).endswith("; make the layer smaller, or compile for a CPU")
    compile_segments({"task": wide_mlp(8191).steps}, roomy())


def wide_image() -> Net:
    """A convolution to 512 channels of an upsampled image."""
    net = Net(1)
    x = net.norm(net.source(4 * 12, 32, "int16"))
    net.result(net.conv(net.enlarge(x, 4, 12), 8, 24, 512, net.finish()))
    return net


def reasons_of(net: Net, spec: AcceleratorSpec) -> list[str]:
    """Why convolutions are left to the host CPU, once the rest gave the law's bits."""
    (task,) = compile_and_check(net.steps, net.image, spec).tasks
    return [step.reason for step in task.left if step.kind == "QConv2d"]


def test_an_image_of_which_no_row_of_results_fits_stays() -> None:
    spec = small_spec(16, 16, {"residual": 6 * 1024}, accumulator_rows=128, weight_ring_bytes=2**17)
    # Two buffers of 24 pixels of 512 bytes; the memory has its share of `side` too.
    there = capacities(spec.engine)["residual"]
    what = "results, in memory 'residual', of"
    assert reasons_of(wide_image(), spec) == [f"one row needs {2 * 24 * 512:,} bytes for {what} {there:,}"]


def test_the_rows_around_a_row_must_fit_too() -> None:
    net = Net(1)
    net.result(net.conv(net.source(8 * 24, 64, "int8"), 8, 24, 16, net.finish()))
    spec = small_spec(16, 16, {"hidden": 4 * 1024}, accumulator_rows=128)
    (why,) = reasons_of(net, spec)
    assert why.startswith(f"one row needs {4 * 24 * 64:,} bytes for rows, in memory 'hidden', of 4,")


def test_weights_of_a_tile_of_columns_must_fit_the_ring() -> None:
    net = Net(1)
    net.result(net.conv(net.source(16, 128, "int8"), 4, 4, 16, net.finish(), kernel=(7, 7), stride=(2, 2)))
    spec = small_spec(16, 16, {"hidden": 2**17}, accumulator_rows=128)
    needed = -(-(49 * 128 * 16 + 8 * 16) // 64) * 64
    assert reasons_of(net, spec) == [f"16 columns of its weights have {needed:,} bytes, the weight ring 16,384"]


def test_a_share_in_which_no_row_fits_is_refused_by_name() -> None:
    net, spec = wide_image(), small_spec(16, 16, accumulator_rows=128, weight_ring_bytes=2**17)
    name = next(step.origin[0] for step in net.steps if isinstance(step.operator, QConv2d))
    with pytest.raises(BudgetError, match=rf"^{name}: results, .* of one row needs 24576 bytes, the budget is"):
        compile_task("task", net.steps, spec, limits(spec.engine, 0.25), ParameterWindow(), ExpertOrder())


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
