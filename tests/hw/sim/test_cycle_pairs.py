"""An array that works on two tiles a cycle: cycles counted by hand from the tiles of the stream.

The engine is a ZCU104 with twice the DSP clock. Tiles load so fast that rows alone count, where nothing else is said.
"""

from dataclasses import replace

import pytest

from edgemtl.hw.isa import REGIONS
from edgemtl.hw.sim.cycle import simulate
from edgemtl.hw.sim.cycle.ports import InputPorts
from edgemtl.hw.spec import AcceleratorSpec, read_spec
from tests.hw.sim.streams import image, layer, lines_of, make_frame, make_spec, word

ARRAY, FILL = 48, 28


def engine(ratio: int, **changes: int) -> AcceleratorSpec:
    """Memories of the board with twice the DSP clock, whatever the ratio."""
    buffers = read_spec("zcu104x2").engine.buffers
    return make_spec(
        **{"weight_load_bytes_per_cycle": 96 * 32, "buffers": buffers, "dsp_clock_ratio": ratio, **changes}
    )


def matrix(words, spec: AcceleratorSpec):
    """The span of the one instruction of the matrix unit."""
    (timing,) = simulate([make_frame(words, spec)], spec)
    (span,) = (span for span in timing.spans if span.unit == "matrix")
    return span, timing


@pytest.mark.parametrize(
    ("k", "tiles", "passes"),
    [(1, 1, 1), (96, 1, 1), (97, 2, 1), (192, 2, 1), (193, 3, 2), (256, 3, 2), (288, 3, 2), (384, 4, 2)],
)
def test_two_tiles_of_k_pass_at_once(k, tiles, passes):
    shape = {"rows": 100, "k": k, "n": 64}
    assert matrix(layer(engine(1), **shape), engine(1))[0].busy == 2 * tiles * 100
    span, timing = matrix(layer(engine(2), **shape), engine(2))
    assert span.busy == 2 * passes * 100
    assert timing.macs == 100 * k * 64
    assert timing.on_chip["array"] == k * 64


def test_both_tiles_load_through_the_same_port():
    """Six tiles of columns, each a pass of 192 rows: 2 x 96 x 32 bytes, 32 a cycle, and bias and scales."""
    spec = engine(2, weight_load_bytes_per_cycle=32)
    load = 2 * 96 + 8
    span, _ = matrix(layer(spec, rows=17), spec)
    assert span.end - span.start == 5 * load + 17 + ARRAY
    alone = engine(1, weight_load_bytes_per_cycle=32)
    span, _ = matrix(layer(alone, rows=17), alone)
    assert span.end - span.start == 11 * 96 + 5 * 8 + 17 + ARRAY


@pytest.mark.parametrize(
    ("keys", "passes"), [(1, 1), (32, 1), (33, 1), (64, 1), (65, 2), (96, 2), (129, 3), (1025, 17)]
)
def test_two_tiles_of_keys_pass_at_once(keys, passes):
    spec = engine(2)
    scores = word("SCORES", rows=60, k=96, heads=3, count=keys, keys_region=1)
    span, timing = matrix([scores], spec)
    assert span.busy == passes * 60
    assert timing.macs == 60 * keys * 96
    # A row of queries is read once a pass.
    assert timing.on_chip["queries"] == 60 * 96 * passes


def test_a_last_tile_of_keys_loads_alone():
    """Keys at 192 bytes a cycle: 64 keys of 96 bytes are 32 cycles, the last 32 are 16; one row takes 4 cycles."""
    scores = word("SCORES", rows=1, k=96, heads=3, count=160, keys_region=1)
    span, timing = matrix([scores], engine(2))
    assert span.end - span.start == 32 + 16 + 1 + ARRAY
    assert timing.on_chip["hidden"] == 5 * 32 * 96
    assert dict(span.stalls)["load"] >= 32 + FILL + 28 + 12


@pytest.mark.parametrize(("keys", "passes"), [(96, 1), (129, 1), (192, 1), (193, 2), (1025, 6)])
def test_mix_takes_two_tiles_of_keys(keys, passes):
    mix = word("MIX", rows=100, count=keys, n=64, values_region=1)
    assert matrix([mix], engine(2))[0].busy == 2 * passes * 100


@pytest.mark.parametrize(("channels", "alone", "paired"), [(32, 3, 3), (64, 6, 3), (96, 9, 6), (128, 12, 6)])
def test_groups_of_channels_of_the_same_taps_pass_at_once(channels, alone, paired):
    """Three taps of 32 channels share a tile of 96 rows: a pair has 64 channels of one dy."""
    for ratio, passes in ((1, alone), (2, paired)):
        spec = engine(ratio)
        lines = lines_of(9 * channels, 32, spec)
        conv = word("CONV", **image(32, 32), rows=4, k=channels, n=32, src_stride=1, release=lines)
        assert matrix([word("STREAM", lines=lines), conv], spec)[0].busy == passes * 128


@pytest.mark.parametrize(("channels", "passes"), [(64, 9), (128, 9), (160, 18)])
def test_taps_apart_do_not_pass_at_once(channels, passes):
    """An array of 64 rows has no three taps in a tile, and 64 channels of one tap: a pair has 128."""
    spec = engine(2, array_rows=64)
    lines = lines_of(9 * channels, 32, spec)
    conv = word("CONV", **image(32, 32), rows=4, k=channels, n=32, src_stride=1, release=lines)
    assert matrix([word("STREAM", lines=lines), conv], spec)[0].busy == passes * 128


def test_a_column_wider_than_a_third_of_the_rows_does_not_gain_taps_by_the_ratio():
    """At 96 x 48 three taps share no tile, though 192 rows would have room: 9 taps of one group of 96 channels."""
    spec = engine(2, array_columns=48)
    spec = replace(spec, engine=replace(spec.engine, weight_load_bytes_per_cycle=96 * 48))
    lines = lines_of(9 * 96, 48, spec)
    conv = word("CONV", **image(32, 32), rows=4, k=96, n=48, src_stride=1, release=lines)
    assert matrix([word("STREAM", lines=lines), conv], spec)[0].busy == 9 * 128


INPUT, HIDDEN = REGIONS.index("input"), REGIONS.index("hidden")


def port_cycles(spec: AcceleratorSpec, k: int = 384, source: int = INPUT, target: int = INPUT) -> list[int]:
    """Cycles for which three layers wait for ports; a NORM of 100 rows of 384 runs all through the second one."""
    shape = {"k": k, "n": 256, "src_region": source}
    words = [
        *layer(spec, "", "vector", rows=400, **shape),
        word("NORM", "matrix", "matrix", rows=100, width=384, dst_region=target),
        *layer(spec, rows=400, **shape),
        *layer(spec, "vector", rows=8, **shape),
    ]
    (timing,) = simulate([make_frame(words, spec)], spec)
    first, norm, second, third = (span for span in timing.spans if span.unit in ("matrix", "vector"))
    assert second.start < norm.start < norm.end < second.end - ARRAY
    return [dict(span.stalls).get("port", 0) for span in (first, second, third)]


def test_writes_of_norm_take_cycles_from_an_array_that_reads_through_both_ports():
    """A row of 384 bytes is written 96 at once; the cycles delay the layer after the one that they belong to."""
    assert port_cycles(engine(2)) == [0, 0, 100 * 4]


def test_a_free_port_takes_the_writes():
    assert port_cycles(engine(1)) == [0, 0, 0]
    assert port_cycles(engine(2), k=96) == [0, 0, 0]
    assert port_cycles(engine(2), source=HIDDEN) == [0, 0, 0]
    buffers = read_spec("zcu104x2").engine.buffers
    wide = replace(buffers, input=replace(buffers.input, width_bytes=192))
    assert port_cycles(engine(2, buffers=wide)) == [0, 0, 0]


def test_writes_count_once_by_their_overlap_with_reads():
    """100 cycles of writes between 0 and 1,000: 20 before 200, 30 between 500 and 800, 10 behind 900; none in gaps."""
    ports = InputPorts()
    ports.read(0, 200)
    ports.write(0, 1000, 100)
    assert ports.take() == 20
    ports.read(500, 800)
    ports.read(900, 5000)
    assert ports.take() == 30 + 10
    # The last read is still going on when the next writes begin.
    ports.write(2000, 3000, 7)
    ports.read(6000, 7000)
    assert ports.take() == 7
