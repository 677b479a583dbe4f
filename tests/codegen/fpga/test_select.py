"""What stays on the CPU beside the accelerator, and why; what crosses between the two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.codegen.fpga.compile import boundary, compile_segments
from edgemtl.codegen.fpga.images import conv_reason
from edgemtl.codegen.fpga.program import BoardProgram, SegmentCall
from edgemtl.codegen.fpga.ranges import width_reason
from edgemtl.codegen.fpga.runs import runs
from edgemtl.codegen.fpga.select import OTHER_NORM, Left, select
from edgemtl.hw.encoding import decode_stream
from edgemtl.hw.law import Finish
from edgemtl.lowering.ir import Step, View, dense
from tests.codegen.fpga.builder import WIDE, Net
from tests.codegen.fpga.rig import check, compile_and_check, engines
from tests.codegen.graphs import int64, random
from tests.quantize.forms import quantised

FLOAT = "it works in float32, which the accelerator does not have"
STRANGE = "its surroundings are none that the accelerator runs"


def left_of(program: BoardProgram) -> list[tuple[str, str]]:
    """Kinds and reasons of what is left, but for the ends of every network."""
    (task,) = program.tasks
    return [(step.kind, step.reason) for step in task.left if step.reason != FLOAT]


def through_float(net: Net, view: View) -> View:
    """What a layer kept in float32 does to the steps around it: out of the integers and back in."""
    size = view.size
    held = dense(net.view(1, 1).buffer, (size,))
    net.add(ops.Dequantise(size, view.dtype, 0.5, 0), {"x": dense(view.buffer, (size,), view.dtype), "y": held})
    y = net.view(*view.shape, view.dtype)
    net.add(ops.Quantise(size, view.dtype, 2.0, 0), {"x": held, "y": dense(y.buffer, (size,), view.dtype)})
    return y


@pytest.mark.parametrize("engine", ["zcu104", "16 x 16"])
def test_a_layer_in_float_lies_between_two_segments(engine: str) -> None:
    net = Net(1)
    stream = net.patch(20, 30, 32, 1)
    stream = net.experts(net.norm(stream), stream, 5, 2, 24)
    stream = through_float(net, stream)
    stream = net.mlp(net.norm(stream), stream, 40, True)
    net.result(net.norm(stream, 1))
    program = compile_and_check(net.steps, net.image, engines()[engine])
    (task,) = program.tasks
    kinds = [type(step.operator).__name__ for step in task.steps]
    middle = ["SegmentCall", "Dequantise", "Quantise", "SegmentCall"]
    assert kinds == ["Quantise", *middle, "Dequantise"]
    assert [step.operator.index for step in task.steps if isinstance(step.operator, SegmentCall)] == [0, 1]
    assert [[layer.name for layer in segment.layers] for segment in task.segments] == [
        ["patch", "norm", "experts"],
        ["norm", "mlp", "norm"],
    ]
    assert {step.reason for step in task.left} == {FLOAT}
    assert [step.origin for step in task.left] == [
        step.origin for step in task.steps if step.operator in _specs(net, task)
    ]


def _specs(net: Net, task: object) -> list[object]:
    return [step.operator for step in net.steps if "uantise" in type(step.operator).__name__]


def test_a_segment_may_begin_behind_the_class_token() -> None:
    """The rows before are not read, but they lie in front of those that are."""
    net = Net(2)
    stream = net.source(7, 24, "int16")
    stream = net.mlp(net.norm(stream), stream, 30, False)
    net.result(net.norm(through_float(net, stream), 1))
    program = compile_and_check(net.steps, net.image, engines()["ultra96v2"])
    assert len(program.tasks[0].segments) == 2


def test_a_head_may_begin_behind_a_layer_in_float() -> None:
    net = Net(3)
    x = through_float(net, net.norm(net.source(4 * 6, 20, "int16")))
    net.result(net.conv(net.enlarge(x, 4, 6), 8, 12, 9, net.finish()))
    program = compile_and_check(net.steps, net.image, engines()["ultra96v2"])
    assert len(program.tasks[0].segments) == 2


def conv_of(**changes: object) -> ops.QConv2d:
    """A 3 x 3 convolution of 32 channels over 8 x 8 pixels."""
    plain = ops.QConv2d(8, 8, 32, 32, 8, 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 0, Finish("int8"))
    return replace(plain, **changes)


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "strides": ({"stride": (2, 1)}, "its strides are 2 and 1, the accelerator has one for both axes"),
    "dilations": ({"dilation": (1, 3)}, "its dilations are 1 and 3, the accelerator has one for both axes"),
    "tall kernel": ({"kernel": (8, 3)}, "its kernel has 8 rows, the accelerator holds 0 to 7"),
    "wide kernel": ({"kernel": (1, 9)}, "its kernel has 9 columns, the accelerator holds 0 to 7"),
    "stride": ({"stride": (8, 8)}, "it has 8 for a stride, the accelerator holds 0 to 7"),
    "dilation": ({"dilation": (64, 64)}, "it has 64 for a dilation, the accelerator holds 0 to 63"),
    "padding above": ({"pad": (64, 0, 0, 0)}, "it pads 64 rows above, the accelerator holds 0 to 63"),
    "padding on the left": ({"pad": (0, 64, 0, 0)}, "it pads 64 pixels on the left, the accelerator holds 0 to 63"),
    "rows": ({"height": 2048}, "its image has 2,048 rows, the accelerator holds 0 to 2,047"),
    "output rows": ({"out_height": 2050}, "its output has 2,050 rows, the accelerator holds 0 to 2,047"),
    "pixels": (
        {"width": 2048},
        "its image has 2,048 pixels in a row, the accelerator holds 0 to 2,047",
    ),
    "input channels": ({"cin": 8192}, "it has 8,192 input channels, the accelerator holds 0 to 8,191"),
    "output channels": ({"cout": 8192}, "it has 8,192 output channels, the accelerator holds 0 to 8,191"),
    "padding alone": ({"pad": (12, 1, 0, 1), "out_height": 9}, "it reads no row of its image, only padding"),
    "granules": (
        {"width": 2047, "cin": 1024},
        "a row of pixels has 65,504 granules, an instruction copies 16,383",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_limits_of_a_convolution(name: str) -> None:
    changes, why = REFUSED[name]
    assert conv_reason(conv_of(**changes), engines()["zcu104"].engine) == why


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kernel": (7, 7), "stride": (7, 7), "dilation": (63, 63), "pad": (63, 63, 99, 99)},
        {"kernel": (1, 3), "dilation": (5, 2)},
        {"out_height": 1, "stride": (3, 2)},
        {"cin": 8191, "cout": 511},
    ],
)
def test_within_the_limits_a_convolution_has_no_reason(changes: dict[str, object]) -> None:
    """Of an axis of one tap the dilation does not matter, of one output the stride."""
    assert conv_reason(conv_of(**changes), engines()["zcu104"].engine) == ""


@pytest.mark.parametrize("engine", ["zcu104", "zcu104x2", "ultra96v2"])
def test_convolutions_of_a_backbone_are_one_segment(engine: str) -> None:
    """Strides, a dilation, one pixel and a kernel of even sides, over rows of odd numbers of pixels."""
    net = Net(4)
    x = net.conv(net.source(25 * 27, 3, "int8"), 25, 27, 20, net.finish(), kernel=(7, 7), stride=(2, 2))
    x = net.conv(x, 13, 14, 40, net.finish(), dilation=(2, 2))
    x = net.conv(x, 13, 14, 33, net.finish(), kernel=(1, 1), stride=(2, 2))
    x = net.conv(x, 7, 7, 100, net.finish(), kernel=(2, 2), pad=(1, 1, 0, 0), table=True)
    net.result(net.conv(x, 7, 7, 7, WIDE, kernel=(1, 5)))
    program = compile_and_check(net.steps, net.image, engines()[engine])
    assert left_of(program) == []
    assert [layer.name for layer in program.tasks[0].segments[0].layers] == ["picture"] * 5


@pytest.mark.parametrize("engine", ["zcu104", "zcu104x2", "ultra96v2"])
def test_convolutions_in_groups_are_one_segment_with_the_layers_around_them(engine: str) -> None:
    """Depthwise, in groups that divide tiles, and in others that do not; behind layers of rows and before them."""
    net = Net(5)
    x = net.linear(net.source(6 * 5, 24, "int8"), 96, net.finish())
    x = net.conv(x, 6, 5, 96, net.finish(), groups=96, table=True)
    x = net.conv(net.linear(x, 72, net.finish()), 6, 5, 48, net.finish(), stride=(2, 2), groups=6)
    net.result(net.conv(net.linear(x, 90, net.finish()), 3, 3, 60, net.finish(), groups=3))
    program = compile_and_check(net.steps, net.image, engines()[engine])
    assert left_of(program) == []
    assert len(program.tasks[0].segments) == 1


GROUPED = {
    "depthwise": (96, 96, 96, [(32, 32)] * 3),
    "depthwise with a rest": (70, 70, 70, [(32, 32), (32, 32), (6, 6)]),
    "groups within tiles": (64, 128, 8, [(16, 32), (32, 32)] * 2),
    "groups over tiles": (96, 48, 2, [(96, 32), (64, 16)]),
    "groups of whole tiles": (96, 128, 2, [(48, 64), (64, 64)]),
}
"""Channels in and out, groups, and the channels in and out of each instruction."""


@pytest.mark.parametrize("name", GROUPED)
def test_an_instruction_reads_the_channels_of_the_groups_that_it_computes(name: str) -> None:
    """From a granule of 32 on; tiles of 32 that read the same channels are one instruction."""
    cin, cout, groups, sizes = GROUPED[name]
    net = Net(7)
    net.result(net.conv(net.source(4 * 4, cin, "int8"), 4, 4, cout, net.finish(), groups=groups))
    spec = engines()["zcu104"]
    ((segment,),) = (task.segments for task in compile_and_check(net.steps, net.image, spec).tasks)
    instructions = decode_stream(segment.stream, spec.engine).instructions
    assert [(i["k"], i["n"]) for i in instructions if i.name == "CONV"] == sizes


@pytest.mark.parametrize("first", [0, 64])
def test_a_part_of_an_image_stays(first: int) -> None:
    """The upper or the lower half of a tensor."""
    net = Net(6)
    whole = net.source(128, 32, "int8")
    half = View(whole.buffer, (64, 32), whole.strides, first * 32, whole.dtype)
    net.result(net.conv(half, 8, 8, 8, net.finish(), kernel=(1, 1)))
    net.result(whole)
    program = compile_segments({"task": net.steps}, engines()["zcu104"])
    why = "its image is a part of another tensor, the accelerator reads and writes whole images"
    assert left_of(program) == [("QConv2d", why)]


def test_an_image_that_is_read_in_rows_of_two_widths_is_that_of_two_segments() -> None:
    net = Net(7)
    x = net.source(64, 16, "int8")
    net.result(net.conv(x, 8, 8, 8, net.finish()))
    halves = View(x.buffer, (32, 32), (32, 1), 0, x.dtype)
    net.result(net.conv(halves, 4, 8, 8, net.finish()))
    program = compile_and_check(net.steps, net.image, engines()["zcu104"])
    assert left_of(program) == []
    assert len(program.tasks[0].segments) == 2


@pytest.mark.parametrize(("width", "channels", "cuts"), [(513, 4, [256, 257]), (1100, 40, [366, 367, 367])])
def test_rows_wider_than_the_accumulators_are_cut(width: int, channels: int, cuts: list[int]) -> None:
    """Each part reads the pixels around it."""
    net, engine = Net(5), engines()["zcu104"].engine
    net.result(net.conv(net.source(3 * width, channels, "int8"), 3, width, 40, net.finish(), kernel=(3, 5)))
    program = compile_and_check(net.steps, net.image, engines()["zcu104"])
    assert left_of(program) == []
    instructions = decode_stream(program.tasks[0].segments[0].stream, engine).instructions
    assert sorted({i["out_width"] for i in instructions if i.name == "CONV"}) == sorted({*cuts})


def test_a_row_cut_is_one_of_dram() -> None:
    """A whole image on chip is stored before its rows are cut: the convolution is a segment of its own."""
    net = Net(5)
    net.result(net.conv(net.norm(net.source(2 * 30, 4, "int16")), 2, 30, 4, net.finish()))
    program = compile_and_check(net.steps, net.image, engines()["16 x 16"])
    assert left_of(program) == []
    assert len(program.tasks[0].segments) == 2


def test_an_upsampling_in_front_of_rows_that_are_cut_is_a_layer_of_its_own() -> None:
    net = Net(5)
    net.result(net.conv(net.enlarge(net.source(15, 4, "int8"), 1, 15), 2, 30, 4, net.finish()))
    program = compile_and_check(net.steps, net.image, engines()["16 x 16"])
    assert left_of(program) == []
    assert [layer.name for layer in program.tasks[0].segments[0].layers] == ["resize", "picture"]


@pytest.mark.parametrize("engine", ["zcu104", "zcu104x2", "ultra96v2"])
def test_a_relu_of_16_bits(engine: str) -> None:
    """As at the end of a depth head: a convolution and the layer over its pixels, and layers of their own."""
    net = Net(9)
    positive = Finish("int16", low=0)
    image = net.conv(net.source(81, 20, "int8"), 9, 9, 33, net.finish())
    for view in (net.linear(image, 5, positive), net.conv(net.source(81, 8, "int8"), 9, 9, 40, positive)):
        net.result(view)
    rows, stream = net.source(30, 24, "int8"), net.source(30, 24, "int16")
    net.result(net.linear(rows, 24, positive, residual=stream))
    program = compile_and_check(net.steps, net.image, engines()[engine])
    assert left_of(program) == []


def test_the_pixels_of_a_layer_that_stays_leave_the_convolution_to_the_accelerator() -> None:
    net = Net(8)
    net.result(net.linear(net.conv(net.source(81, 8, "int8"), 9, 9, 33, net.finish()), 5, WIDE))
    at = next(i for i, step in enumerate(net.steps) if isinstance(step.operator, ops.QLinear))
    step = net.steps[at]
    weight = np.full((33, 5), -128, np.int8)
    constants = [replace(c, array=weight) if ".weight" in c.name else c for c in step.constants]
    net.steps[at] = replace(step, constants=tuple(constants))
    program = compile_segments({"task": net.steps}, engines()["zcu104"])
    assert [kind for kind, _ in left_of(program)] == ["QLinear"]


def test_an_image_higher_than_the_counters_stays() -> None:
    net = Net(5)
    net.result(net.conv(net.source(2048, 1, "int8"), 2048, 1, 1, net.finish()))
    program = compile_segments({"task": net.steps}, engines()["zcu104"])
    assert [kind for kind, why in left_of(program) if "2,047" in why] == ["QConv2d"]


def read_again(net: Net, kind: str) -> None:
    """A block whose residual is read once more when it has been added to."""
    stream = net.source(12, 32, "int16")
    x = net.norm(stream)
    if kind == "mlp":
        made = net.mlp(x, stream, 40, True)
    elif kind == "attention":
        made = net.attention(x, stream, 1, 32)
    else:
        made = net.experts(x, stream, 4, 2, 16)
    net.result(made)
    net.result(net.norm(stream))


@pytest.mark.parametrize("engine", ["zcu104", "16 x 16"])
@pytest.mark.parametrize("kind", ["mlp", "attention", "experts"])
def test_a_residual_that_is_read_again_is_not_written_over(kind: str, engine: str) -> None:
    net = Net(6)
    read_again(net, kind)
    program = compile_and_check(net.steps, net.image, engines()[engine])
    assert left_of(program) == []
    assert len(program.tasks[0].segments) == 2


def test_rows_between_layers_that_others_read_are_stored() -> None:
    net = Net(7)
    stream = net.source(12, 32, "int16")
    hidden = net.linear(net.norm(stream), 40, Finish("int8"))
    summed = net.linear(hidden, 32, WIDE, residual=stream)
    net.result(hidden)
    net.result(summed)
    program = compile_and_check(net.steps, net.image, engines()["zcu104"])
    assert left_of(program) == []
    assert [layer.name for layer in program.tasks[0].segments[0].layers] == ["norm", "linear", "linear"]


def test_layers_need_no_residual() -> None:
    net = Net(8)
    x = net.norm(net.source(12, 32, "int16"))
    net.result(net.linear(net.linear(x, 24, Finish("int8")), 8, WIDE))
    assert left_of(compile_and_check(net.steps, net.image, engines()["zcu104"])) == []


def test_more_queues_than_the_router_holds_are_not_compiled_to_a_stream_that_fails() -> None:
    """300 tokens of 4 experts are more than the 1,024 entries of this board's router."""
    net = Net(9)
    stream = net.source(300, 16, "int16")
    net.result(net.experts(net.norm(stream), stream, 8, 4, 16))
    compile_and_check(net.steps, net.image, engines()["ultra96v2"])


@pytest.mark.parametrize("again", ["enlarged", "other"])
def test_an_enlarged_image_that_is_not_for_its_convolution_alone_is_a_layer_of_its_own(again: str) -> None:
    """A convolution that alone reads it keeps a few of its rows at a time; for others all are stored."""
    net = Net(14)
    x = net.norm(net.source(4 * 4, 8, "int16"))
    other = net.norm(net.source(8 * 8, 8, "int16"))
    large = net.enlarge(x, 4, 4)
    net.result(net.conv(large if again == "enlarged" else other, 8, 8, 8, net.finish()))
    net.result(large)
    program = compile_and_check(net.steps, net.image, engines()["zcu104"])
    assert left_of(program) == []
    assert "resize" in [layer.name for segment in program.tasks[0].segments for layer in segment.layers]


def naive_boundary(inside: Sequence[Step], steps: Sequence[Step]) -> tuple[set[str], set[str]]:
    """Buffers that cross into the steps inside, and out of them."""
    into, out = set(), set()
    for maker in steps:
        for view in maker.outputs:
            readers = [step for step in steps if any(seen.buffer == view.buffer for seen in step.inputs)]
            if maker in inside and any(step not in inside for step in readers):
                out.add(view.buffer)
            if maker not in inside and any(step in inside for step in readers):
                into.add(view.buffer)
    return into, out


def test_boundary_is_what_crosses() -> None:
    net = Net(10)
    stream = net.source(12, 32, "int16")
    x = net.norm(stream)
    stream = net.experts(x, stream, 4, 2, 16)
    net.result(x)
    stream = net.mlp(net.norm(stream), stream, 24, False)
    net.result(stream)
    for first in range(len(net.steps)):
        for last in range(first + 1, len(net.steps) + 1):
            inside = net.steps[first:last]
            into, out = boundary(inside, net.steps)
            held = {view.buffer for view in into} - {"input/image"}, {view.buffer for view in out}
            assert held == naive_boundary(inside, net.steps)


def test_runs_are_groups_between_what_is_left() -> None:
    net = Net(11)
    stream = net.source(12, 32, "int16")
    stream = net.mlp(net.norm(stream), stream, 24, False)
    stream = through_float(net, stream)
    net.result(net.norm(stream))
    made = list(runs(select(net.steps, engines()["zcu104"].engine)))
    assert ["left" if isinstance(run, Left) else len(run) for run in made] == ["left", 2, "left", "left", 1, "left"]


def test_two_tasks_have_segments_of_their_own_and_share_weights() -> None:
    net, other = Net(12), Net(12)
    for made, width in ((net, 24), (other, 24)):
        stream = made.source(12, 32, "int16")
        made.result(made.mlp(made.norm(stream), stream, width, False))
    tasks = {"a": net.steps, "b": other.steps}
    both, alone = (compile_segments(held, engines()["zcu104"]) for held in (tasks, {"a": net.steps}))
    assert both.parameters == alone.parameters
    check(both, tasks, net.image)


def test_products_of_layers_leave_padding_out() -> None:
    net = Net(13)
    stream = net.patch(10, 30, 33, 1)
    stream = net.attention(net.norm(stream), stream, 1, 32)
    stream = net.experts(net.norm(stream), stream, 5, 2, 7)
    x = net.conv(net.norm(stream, 1), 5, 2, 6, net.finish())
    net.result(x)
    (segment,) = compile_segments({"task": net.steps}, engines()["zcu104"]).tasks[0].segments
    found = {layer.name: layer.macs for layer in segment.layers if layer.macs}
    assert found == {
        "patch": 10 * 30 * 33,
        "attention": 11 * 33 * 96 + 2 * 11 * 11 * 32 + 11 * 32 * 33,
        "experts": 11 * 33 * 5 + 2 * 11 * 2 * 33 * 7,
        "picture": 10 * 9 * 33 * 6,
    }
    for layer in segment.layers:
        assert all(re.match(r"/\w+_\d+$", node) for node in layer.origin)


@pytest.mark.parametrize("bits", [7, 8, 9])
def test_logits_may_have_fewer_fraction_bits(bits: int) -> None:
    net = Net(10)
    stream = net.source(12, 32, "int16")
    net.result(net.experts(net.norm(stream), stream, 8, 2, 16))
    steps = [
        replace(step, operator=replace(step.operator, fraction_bits=bits))
        if isinstance(step.operator, ops.QRouter)
        else step
        for step in net.steps
    ]
    assert left_of(compile_and_check(steps, net.image, engines()["zcu104"])) == []


def test_widths_that_the_accelerator_lacks_stay_on_the_cpu() -> None:
    twelve = Finish("int16", wide=True)
    for operator in (
        ops.QLinear(4, 8, 8, WIDE, wide=True),
        ops.QLinear(4, 8, 8, twelve, table=True),
        ops.QLayerNorm(4, 64, 4**9, 70000, 12, wide=True),
        ops.QAttention(4, 1, 8, 2, 70000, 20, wide=True),
        ops.QPatchEmbed(4, 192, 16, 1, wide=True),
    ):
        assert width_reason(operator) == "its activations have 12 bits, the accelerator's 8"


def test_a_layer_norm_that_gives_the_output_says_why_it_stays() -> None:
    """Its gain and offset have no layer to be folded into; in front of a linear layer it runs on the accelerator."""
    text = "t (float[1,3,8,12] image) => (y) {a = Conv(image, w) \n r = Reshape(a, shape) \n %s}"
    norm, layer = "LayerNormalization<axis = -1>(r, gamma, beta)", "\n y = MatMul(n, m)"
    constants = {"w": random(8, 3, 1, 1), "shape": int64(1, 8, 96), "gamma": random(96), "beta": random(96, seed=1)}
    kinds = {}
    for name, end, more in (("output", f"y = {norm}", {}), ("linear", f"n = {norm} {layer}", {"m": random(96, 4)})):
        steps = quantised(text % end, **constants, **more).integers.steps
        (task,) = compile_segments({"t": steps}, engines()["zcu104"]).tasks
        kinds[name] = {step.kind: step.reason for step in task.left}
    assert kinds["output"]["QNormalise"] == OTHER_NORM
    assert {"QNormalise", "QLayerNorm"}.isdisjoint(kinds["linear"])
