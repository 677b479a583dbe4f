"""Networks as hypothesis draws them: encoders of every block, and heads over images."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from edgemtl.lowering.ir import View
from tests.codegen.fpga.builder import WIDE, Net

DIMS = (8, 16, 24, 33, 48, 64, 80)
HEADS = {1: (8, 17, 32, 64), 2: (8, 12, 32, 48), 3: (8, 16, 21, 32), 4: (8, 16, 24), 6: (8, 16)}
"""Sizes of a head by how many there are."""

MANY = (48, 66, 72, 96, 120)
"""Channels of several tiles, which groups divide in whole tiles or not."""


@st.composite
def encoders(draw: st.DrawFn, most_tokens: int = 60) -> Net:
    """Patches or rows, then up to three blocks of any kind; what is left is read as it is or through a LayerNorm."""
    net = Net(draw(st.integers(0, 2**20)))
    dim, tokens = draw(st.sampled_from(DIMS)), draw(st.integers(1, most_tokens))
    if draw(st.booleans()):
        stream = net.patch(tokens, draw(st.integers(1, 70)), dim, draw(st.integers(0, 2)))
    else:
        stream = net.source(tokens, dim, "int16")
    for _ in range(draw(st.integers(1, 3))):
        x = net.norm(stream, plain=draw(st.booleans()))
        for _ in range(draw(st.integers(1, 2))):
            stream = draw(blocks(net, x, stream))
    net.result(net.norm(stream, draw(st.integers(0, stream.shape[0] - 1))) if draw(st.booleans()) else stream)
    return net


def blocks(net: Net, x: View, stream: View) -> st.SearchStrategy[View]:
    """One block that reads ``x`` and adds to ``stream``."""
    made = (attentions, mlps, mixtures)
    return st.sampled_from(made).flatmap(lambda kind: kind(net, x, stream))


@st.composite
def attentions(draw: st.DrawFn, net: Net, x: View, stream: View) -> View:
    """Attention of any number of heads."""
    heads = draw(st.sampled_from(sorted(HEADS)))
    return net.attention(x, stream, heads, draw(st.sampled_from(HEADS[heads])))


@st.composite
def mlps(draw: st.DrawFn, net: Net, x: View, stream: View) -> View:
    """An MLP, with a table or without."""
    return net.mlp(x, stream, draw(st.integers(1, 130)), draw(st.booleans()))


@st.composite
def mixtures(draw: st.DrawFn, net: Net, x: View, stream: View) -> View:
    """Experts: of all or of some, with gates that like all or hardly more than a few."""
    experts = draw(st.integers(2, 20))
    chosen = draw(st.none() | st.sets(st.integers(0, experts - 1), min_size=1).map(lambda held: tuple(sorted(held))))
    return net.experts(
        x,
        stream,
        experts,
        draw(st.integers(1, min(4, experts if chosen is None else len(chosen)))),
        draw(st.integers(1, 70)),
        candidates=chosen,
        skew=draw(st.sampled_from([0.0, 0.02, 2.0])),
        table=draw(st.booleans()),
        normalize=draw(st.booleans()),
        threshold=draw(st.sampled_from([0, 5000])),
    )


@st.composite
def convolutions(draw: st.DrawFn, net: Net, x: View, size: tuple[int, int], cout: int) -> tuple[View, int, int]:
    """A convolution in any groups, of any geometry that has an output, with the sides of its image; perhaps a table."""
    side, pad, how = st.integers(1, 7), st.integers(0, 4), net.finish()
    kernel = draw(st.sampled_from([(3, 3), (1, 1), (2, 2)]) | st.tuples(side, side))
    stride, dilation = draw(st.sampled_from([1, 1, 2, 3, 4])), draw(st.sampled_from([1, 1, 2, 4]))
    pads = [draw(pad), draw(pad), draw(pad), draw(pad)]
    for axis in range(2):
        pads[axis + 2] += max(0, (kernel[axis] - 1) * dilation + 1 - size[axis] - pads[axis] - pads[axis + 2])
    geometry = {"kernel": kernel, "stride": (stride, stride), "dilation": (dilation, dilation)}
    common = math.gcd(x.shape[1], cout)
    groups = draw(st.sampled_from([count for count in range(1, common + 1) if common % count == 0]))
    y = net.conv(x, *size, cout, how, table=draw(st.booleans()), **geometry, pad=tuple(pads), groups=groups)
    operator = net.steps[-1].operator
    return y, operator.out_height, operator.out_width


@st.composite
def pyramids(draw: st.DrawFn) -> Net:
    """Up to three convolutions of any geometry over an image, some behind an upsampling; each may be read outside.

    Rows of 60 pixels are more than twice what the smallest engines accumulate.
    """
    net = Net(draw(st.integers(0, 2**20)))
    size = draw(st.integers(1, 11)), draw(st.integers(1, 11) | st.integers(12, 60))
    x, results = net.source(size[0] * size[1], draw(st.integers(1, 40) | st.sampled_from(MANY)), "int8"), []
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.integers(0, 3)) == 0 and max(size) <= 11:
            x, size = net.enlarge(x, *size), (2 * size[0], 2 * size[1])
        channels = st.integers(1, 40) | st.sampled_from([x.shape[1], *MANY])
        x, *size = draw(convolutions(net, x, size, draw(channels)))
        results.append(x)
    for view in results if draw(st.booleans()) else results[-1:]:
        net.result(view)
    return net


@st.composite
def heads(draw: st.DrawFn) -> Net:
    """Up to three layers over an image that LayerNorm made or that comes from outside; each may be read outside."""
    net = Net(draw(st.integers(0, 2**20)))
    height, width = draw(st.integers(1, 7)), draw(st.sampled_from([4, 4, 8, 1, 3, 6]))
    channels = draw(st.integers(1, 40))
    first = draw(st.integers(0, 1))
    if draw(st.booleans()):
        x = net.norm(net.source(height * width + first, channels, "int16"), first, plain=draw(st.booleans()))
    else:
        x = net.source(height * width, channels, "int8")
    results = []
    for index in range(last := draw(st.integers(1, 3))):
        if draw(st.booleans()):
            x, height, width = net.enlarge(x, height, width), 2 * height, 2 * width
        wide = index == last - 1 and draw(st.booleans())
        pixels = draw(st.booleans())
        how = WIDE if wide and not pixels else net.finish()
        x = net.conv(x, height, width, draw(st.integers(1, 40)), how, table=how is not WIDE and draw(st.booleans()))
        if pixels:
            x = net.linear(x, draw(st.integers(1, 40)), WIDE if wide else net.finish())
        if index == last - 1 or draw(st.booleans()):
            results.append(x)
    for view in results:
        net.result(view)
    return net
