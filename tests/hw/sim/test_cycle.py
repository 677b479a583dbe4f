"""Times worked out by hand from docs/accelerator.md, and the cycles that RTL of the array took."""

import pytest

from edgemtl.errors import InputError, IntegrityError, UsageError
from edgemtl.hw.sim.cycle import simulate
from tests.hw.sim.streams import image, layer, lines_of, make_frame, make_spec, word

ARRAY, DRAM = 48, 120
"""Cycles from the last row to its result, and from the end of a transfer to its last byte on chip."""
HERE = 2 + DRAM + 1
"""Four words are here at 122: 128 bytes at 64 a cycle, then 120 cycles. HEAD leaves at 122, the first word at 123."""
BESIDE = 8
"""Cycles in which bias and scales of 32 columns, 256 bytes, load 32 a cycle before the first tile of these columns."""


def run(words, spec, **held):
    return simulate([make_frame(words, spec, **held)], spec)[0]


def stalls(span) -> dict:
    return dict(span.stalls)


def test_a_tile_takes_its_rows_where_they_are_more_than_its_load():
    spec = make_spec()
    timing = run(layer(spec), spec)
    stream, linear = timing.spans
    # 38,400 bytes of weights at 64 a cycle.
    assert (stream.start, stream.end, stream.busy) == (HERE, HERE + 600 + DRAM, 600)
    # The first tile's 3,328 bytes come in two pieces; they load 32 a cycle.
    assert linear.start == HERE + 64 + DRAM + 96 + BESIDE
    assert linear.end == linear.start + 12 * 129 + ARRAY
    assert linear.busy == 12 * 129
    assert stalls(linear) == {"queue": HERE + 1 + ARRAY, "weights": 64 + DRAM - 1, "load": 96 + BESIDE}
    assert (timing.begin, timing.end) == (0, linear.end)
    assert timing.macs == 129 * 192 * 192
    assert timing.traffic == {"weights": 38_400, "instructions": 128}
    assert timing.busy == {"weights": 600, "matrix": 12 * 129, "memory": 602}


def test_a_tile_takes_its_load_where_that_is_more_than_its_rows():
    spec = make_spec()
    _, linear = run(layer(spec, rows=17), spec).spans
    assert linear.end - linear.start == 11 * 96 + 5 * BESIDE + 17 + ARRAY
    assert stalls(linear)["load"] == 96 + BESIDE + 11 * (96 - 17) + 5 * BESIDE


def test_a_tile_takes_four_cycles_at_least():
    spec = make_spec(weight_load_bytes_per_cycle=96 * 32)
    waits = [word("LOAD", signals="matrix", size=2048, step=1024, rows=1)]  # long enough for all weights to be there
    linear = run([*layer(spec, rows=1)[:1], *waits, *layer(spec, "data", rows=1)[1:]], spec).spans[-1]
    assert linear.end - linear.start == 11 * 4 + 1 + ARRAY


def test_a_short_word_takes_as_long_as_its_weights_take_to_come():
    spec = make_spec(rate=32, weight_load_bytes_per_cycle=96 * 32)
    timing = run(layer(spec, rows=4), spec)
    # Words take two cycles more; 38,400 bytes, latency, one cycle of load, four rows, the array.
    assert timing.end == HERE + 2 + 1200 + DRAM + 1 + 4 + ARRAY
    assert stalls(timing.spans[1])["weights"] > 1000


def test_rtl_of_the_array():
    # Measured: GEMM 129 x 192 x 192 on 96 x 32, the first load included, in 1,676 cycles; the prototype's pipeline was
    # 40 cycles long and its bias came beside.
    assert _rtl(make_spec(), rows=129, k=192, n=192) == pytest.approx(1676, rel=0.01)
    # Measured: 64 x 32, 18 tiles of 17 rows in 1,248 cycles, 54 tiles of 129 in about 7,036.
    narrow = make_spec(array_rows=64)
    assert _rtl(narrow, rows=17, k=192, n=192) == pytest.approx(1248, rel=0.05)
    assert _rtl(narrow, rows=129, k=192, n=576) == pytest.approx(7036, rel=0.01)


def _rtl(spec, **shape) -> int:
    """Cycles from all weights on chip and an empty array to the last result."""
    stream, linear = layer(spec, "data", **shape)
    here = word("LOAD", signals="matrix", size=4096, step=2048, rows=1)
    span = run([stream, here, linear], spec).spans[-1]
    return spec.engine.array_rows * 32 // 32 + span.end - span.start


def test_units_work_at_once_where_tokens_let_them():
    spec = make_spec()
    norm = word("NORM", waits="matrix", rows=10, width=192)
    words = [*layer(spec, signals="vector"), *layer(spec), norm]
    first, second, vector = (run(words, spec).spans[at] for at in (1, 3, 4))
    assert second.start == first.end - ARRAY  # its weights were loaded behind the first's last tile
    assert vector.start == first.end
    assert vector.end == first.end + 10 * (6 + 4) * 6 // 5 + 72
    assert stalls(vector)["tokens:matrix"] == first.end - (DRAM + 4 + 5)  # seven words: here two cycles later
    assert "tokens:matrix" not in stalls(second)


def test_a_matrix_word_that_reads_what_the_last_one_wrote_waits_for_the_array():
    spec = make_spec()
    words = [*layer(spec, signals="matrix"), *layer(spec, waits="matrix")]
    first, second = run(words, spec).spans[1::2]
    assert second.start == first.end
    assert stalls(second) == {"tokens:matrix": ARRAY, "queue": ARRAY}  # the last: to the frame's end


def test_the_sequencer_stands_while_a_queue_is_full():
    spec = make_spec()
    norm = word("NORM", rows=1, width=32)  # 1 * (1 + 4) * 6 / 5 + 72 = 78 cycles
    spans = run([norm] * 200 + [word("SOFTMAX", rows=1, count=64)], spec).spans
    first = spans[0].start
    # Word 199 enters the queue when word 135 starts; the next word one cycle later.
    assert spans[200].start == first + 135 * 78 + 1
    assert spans[199].start == first + 199 * 78


@pytest.mark.parametrize(
    ("made", "cycles"),
    [
        (word("SOFTMAX", rows=65, count=1025), 65 * (17 + 4) + 40),
        (word("NORM", rows=65, width=384), 65 * (12 + 4) * 6 // 5 + 72),
        (word("COMBINE", rows=65, width=384), 65 * (12 + 1) + 24),
        (word("OPEN", rows=65, width=384), 65 * 12 + 22),
        (word("SETTLE", rows=65, width=370), 65 * 12 + 22),
        (word("ENLARGE", rows=2, width=16, stride=8, factor=2), 2 * 2 * 16 * 8 * 32 // 32 + 28),
        (word("ENLARGE", rows=4, width=16, stride=8, factor=4), 4 * 4 * 16 * 8 * 32 // 32 + 28),
        (word("ADD", size=100, b_region=1), 100 * 32 // 32 + 22),
        # Both operands in one region.
        (word("ADD", size=100, a_wide=1, wide=1), 2 * 100 * 32 // 32 + 22),
        (word("MAP", size=100), 64 + 100 * 32 // 32 + 22),
        (word("RESCALE", rows=7, size=100, wide=1), 7 * 100 * 32 // 32 + 22),
        (word("MEAN", rows=49, width=500), 49 * 16 + 24),
        (word("MEAN", rows=49, width=500, end=1), 50 * 16 + 24),
        (word("CLASSES", rows=2, width=16, classes=33), 2 * 16 * 2 + 30),
        (word("CLASSES", rows=2, width=16, classes=19, enlarge=1), 2 * 32 + 30),
        (word("ROUTE", rows=65, k=4, experts=16), 65 * 4 + 52),
        (word("ROUTE", rows=65, k=2, experts=200), 65 * 13 + 52),
    ],
)
def test_row_units(made, cycles):
    spec = make_spec()
    (span,) = run([made], spec).spans
    assert span.end - span.start == span.busy == cycles


@pytest.mark.parametrize("shape", [{"k": 0, "n": 32}, {"k": 32, "n": 0}])
def test_a_layer_of_nothing_takes_no_tile(shape):
    spec = make_spec()
    (span,) = run([word("LINEAR", rows=4, table=1, **shape)], spec).spans
    assert span.busy == 0
    (span,) = run([word("MIX", rows=4, count=shape["k"], n=shape["n"])], spec).spans
    assert span.busy == 0


def test_keys_load_from_their_region_when_tokens_are_there():
    spec = make_spec()
    scores = word("SCORES", waits="vector", rows=65, k=96, heads=3, count=1025, keys_region=1)
    norm, made = run([word("NORM", signals="matrix", rows=9, width=32), scores], spec).spans
    load, fill = 96 * 32 // 96, 28
    assert made.start == norm.end + load + fill
    assert made.end == made.start + 33 * 65 + ARRAY
    timing = run([word("MIX", rows=16, count=1025, n=32, values_region=1)], spec)
    deep = [96] * 10 + [65]
    loads = [rows * 32 // 96 + (rows * 32 % 96 > 0) for rows in deep]
    assert timing.spans[0].end - timing.spans[0].start == sum(max(16, load) for load in loads[1:]) + 16 + ARRAY
    assert timing.macs == 16 * 1025 * 32


def test_convolutions_take_three_taps_a_tile_where_the_array_has_the_rows():
    spec = make_spec(weight_load_bytes_per_cycle=128)
    lines = lines_of(9 * 64, 32, spec)
    conv = word("CONV", **image(32, 32), rows=4, k=64, n=32, src_stride=2, release=lines)
    timing = run([word("STREAM", lines=lines), conv], spec)
    assert timing.spans[1].busy == 3 * 2 * 128
    # Three granules lie in the same of three lanes: the shift register takes two cycles more at the end of a row.
    same = word("CONV", **image(32, 32), rows=4, k=64, n=32, src_stride=3, release=lines)
    assert run([word("STREAM", lines=lines), same], spec).spans[1].busy == 3 * 2 * (128 + 4 * 2)
    assert timing.macs == 9 * 64 * 32 * 128
    assert timing.on_chip["array"] == 9 * 64 * 32
    narrow = make_spec(array_rows=64)
    assert run([word("STREAM", lines=lines), conv], narrow).spans[1].busy == 9 * 128


@pytest.mark.parametrize(
    ("kernel", "geometry", "passes"),
    [
        # 100 channels are two groups of 96 rows where a tile has one tap, four of 32 where three taps share it.
        ((3, 3), {}, 3 * 4),
        ((5, 3), {}, 5 * 4),
        ((3, 3), {"stride": 2}, 9 * 2),
        ((3, 3), {"dilation": 2}, 9 * 2),
        ((3, 5), {}, 15 * 2),
        ((1, 1), {}, 2),
        ((7, 7), {"stride": 2}, 49 * 2),
    ],
)
def test_a_convolution_takes_a_cycle_a_pixel_for_each_tap_that_has_a_tile_of_its_own(kernel, geometry, passes):
    """An array of 96 x 32 with whole rows of 32 pixels: 128 cycles a pass, for two tiles of columns."""
    spec = make_spec(weight_load_bytes_per_cycle=128)
    lines = lines_of(kernel[0] * kernel[1] * 100, 64, spec)
    sides = image(64, 64, kernel, **geometry, out_width=32)
    conv = word("CONV", **sides, rows=4, k=100, n=64, src_stride=4, release=lines)
    timing = run([word("STREAM", lines=lines), conv], spec)
    assert timing.spans[1].busy == passes * 2 * 128
    assert timing.macs == kernel[0] * kernel[1] * 100 * 64 * 128


@pytest.mark.parametrize(
    ("stride", "src_stride", "rows", "cycles"),
    [
        # Three lanes: three pixels at once, two, or one; the kernel is 7 wide.
        (2, 1, 96, 128),
        (3, 1, 96, 128 + 4 * (7 - 3)),
        (1, 3, 96, 128 + 4 * (7 - 1)),
        (2, 3, 96, 128 + 4 * (7 - 2) + 128),
        (7, 1, 96, 128 + 128 * 6),
        # 21 bytes of a row of the kernel are more than this array has rows: a tile for each tap.
        (2, 1, 16, 7 * 128),
    ],
)
def test_all_taps_of_a_row_of_few_channels_are_a_tile(stride, src_stride, rows, cycles):
    spec = make_spec(weight_load_bytes_per_cycle=128, array_rows=rows)
    lines = lines_of(49 * 3, 32, spec)
    sides = image(64, 64, (7, 7), stride=stride, out_width=32)
    conv = word("CONV", **sides, rows=4, k=3, n=32, src_stride=src_stride, release=lines)
    timing = run([word("STREAM", lines=lines), conv], spec)
    assert timing.spans[1].busy == 7 * cycles
    assert timing.macs == 49 * 3 * 32 * 128


def test_a_load_pays_the_latency_once_in_a_row_of_loads():
    spec = make_spec()
    load = word("LOAD", rows=4, size=64, step=32)  # 8,192 bytes
    store = word("STORE", rows=4, size=64, step=32)
    one, two, three = run([load, load, store], spec).spans
    begin = DRAM + 3 + 1
    assert (one.start, one.end) == (begin, begin + 128 + DRAM)
    assert (two.start, two.end) == (begin + 128, begin + 256 + DRAM)
    assert (three.start, three.end) == (two.end, two.end + 128 + DRAM)


def test_rows_apart_move_whole_lines():
    spec = make_spec()
    assert run([word("LOAD", rows=5, size=3, step=4)], spec).traffic["load"] == 5 * 128
    assert run([word("LOAD", rows=5, size=4, step=2)], spec).traffic["load"] == 5 * 128
    assert run([word("STORE", rows=4, size=2, step=1)], spec).on_chip == {"residual": 4 * 64}


def test_the_memory_serves_its_clients_in_turns():
    spec = make_spec()
    load = word("LOAD", rows=1, size=640, step=1)  # 20,480 bytes each
    spans = run([load, word("STREAM", lines=320)], spec).spans
    assert max(span.end for span in spans) == HERE + 640 + DRAM
    assert min(span.end for span in spans) >= HERE + 640 + DRAM - 32
    assert all(dict(span.stalls)["memory"] >= 280 for span in spans)


def test_what_waits_for_what_never_comes_is_named():
    spec = make_spec()
    with pytest.raises(IntegrityError, match=r"waits: word 1 of frame 0 \(LINEAR\) for credits of softmax"):
        run(layer(spec, waits="softmax"), spec)
    with pytest.raises(IntegrityError, match=r"word 1 of frame 0 \(STREAM\) for room in the weight ring"):
        run([word("STREAM", lines=40)] * 2, spec, ring=64)
    with pytest.raises(IntegrityError, match=r"LINEAR\) for bytes up to 3328 of the weights, of which 0 have come"):
        run(layer(spec)[1:], spec)
    full = [word("NORM", waits="data", rows=1, width=8)] * 65 + [word("LOAD", signals="vector", rows=1, size=2)]
    with pytest.raises(IntegrityError, match=r"word 64 of frame 0 \(NORM\) for room in the queue of vector"):
        run(full, spec)


PLACES = {"src_region": 2, "dst_region": 1}
SUMS = {"rows": 7, "width": 100, "high_region": 0, "low_region": 1}


@pytest.mark.parametrize(
    ("made", "moved"),
    [
        # Rows pass once for each of two tiles of columns; 64 columns are written, 40 of them meant.
        (
            word("LINEAR", rows=5, k=100, n=40, table=1, **PLACES),
            {"input": 5 * 100 * 2, "hidden": 5 * 64, "array": 64 * 100, "ring": 64 * 108 + 256},
        ),
        (
            word("LINEAR", rows=5, k=100, n=40, wide=1, residual=1, **PLACES),
            {"input": 5 * 100 * 2, "hidden": 5 * 128, "residual": 5 * 128, "array": 64 * 100, "ring": 64 * 108},
        ),
        # Three taps share a read.
        (
            word("CONV", **image(2, 8), rows=2, k=32, n=32, **PLACES),
            {"input": 16 * 32 * 3, "hidden": 16 * 32, "array": 9 * 32 * 32, "ring": 9 * 32 * 32 + 256},
        ),
        (
            word("SCORES", rows=5, k=96, heads=3, count=40, src_region=5, keys_region=1, dst_region=3),
            {"queries": 5 * 96 * 2, "hidden": 96 * 64, "array": 96 * 64, "scores0": 15 * 40 * 2},
        ),
        (
            word("MIX", rows=5, count=40, n=64, src_region=4, values_region=1, dst_region=5),
            {"scores1": 5 * 40 * 2, "hidden": 40 * 64, "array": 40 * 64, "queries": 5 * 64},
        ),
        (word("SOFTMAX", rows=5, count=40, src_region=3), {"scores0": 5 * 40 * 3}),
        (
            word("NORM", rows=5, width=100, parameters=1, from_region=6, dst_region=2),
            {"residual": 1000, "input": 500, "constants": 200},
        ),
        (word("OPEN", **SUMS), {"residual": 2 * 1400, "hidden": 1400}),
        (word("SETTLE", **SUMS), {"residual": 2 * 1400, "hidden": 1400}),
        (word("COMBINE", src_region=2, **SUMS), {"residual": 2 * 1400, "hidden": 2 * 1400, "input": 1400}),
        (word("ENLARGE", rows=2, width=4, stride=1, src_region=2, dst_region=1), {"input": 512, "hidden": 512}),
        (
            word("ENLARGE", rows=8, width=4, stride=1, src_region=2, factor=8, nearest=1),
            {"input": 1024, "residual": 8192},
        ),
        (
            word("ADD", size=4, a_region=1, b_region=2, a_wide=1, wide=1),
            {"hidden": 256, "input": 128, "residual": 256},
        ),
        (word("MAP", size=4, src_region=1), {"hidden": 128, "residual": 128, "constants": 256}),
        (word("RESCALE", rows=2, size=4, src_region=2, src_wide=1), {"input": 512, "residual": 256}),
        (word("MEAN", rows=5, width=40, src_region=2), {"input": 200}),
        (word("MEAN", rows=5, width=40, src_region=2, end=1, wide=1), {"input": 200, "residual": 80}),
        (word("CLASSES", rows=2, width=8, classes=19, wide=1, src_region=2), {"input": 2 * 8 * 38, "residual": 16}),
        (word("ROUTE", rows=5, experts=16, src_region=5, from_region=6), {"queries": 160, "constants": 32}),
    ],
)
def test_bytes_on_chip(made, moved):
    spec = make_spec()
    if "ring" not in moved:
        assert run([made], spec).on_chip == moved
        return
    lines = -(-moved["ring"] // 64)
    found = run([word("STREAM", lines=lines), made], spec).on_chip
    assert found == moved | {"ring": moved["ring"] + lines * 64}


def test_routes_must_be_those_of_the_stream():
    spec = make_spec()
    route = word("ROUTE", rows=4, k=1, experts=4, begin=1, end=1)
    with pytest.raises(UsageError, match=r"routes must be 1, one for each ROUTE with end, not 0"):
        run([route], spec)
    with pytest.raises(UsageError, match=r"early experts must be \(0,\), as many as each ROUTE says, not \(1,\)"):
        run([route], spec, routes=[[[0]] * 4], early=[(2,)])
    with pytest.raises(InputError, match=r"routes\[0\] must be candidates from 0 on"):
        run([route], spec, routes=[[[-1]] * 4])
    with pytest.raises(IntegrityError, match=r"word 0 \(STREAM\) has slot 1 and must stand behind a ROUTE with end"):
        run([word("STREAM", lines=1, slot=1)], spec)


@pytest.mark.parametrize(
    ("name", "operands", "text"),
    [
        ("STREAM", {"lines": 65}, "STREAM must have weights of at most the 64 lines of their memory, not 65"),
        ("LINEAR", {"rows": 1, "k": 8191, "n": 8191}, "LINEAR must have weights of at most the 64 lines"),
        ("CONV", image(4, 4) | {"rows": 1, "k": 2**12, "n": 2**12}, "CONV must have weights of at most the 64 lines"),
        ("SCORES", {"rows": 1, "k": 2**12, "count": 2**12, "heads": 1}, r"SCORES.keys must be at most the \d+ bytes"),
        ("MIX", {"rows": 1, "n": 2**12, "count": 2**12}, r"MIX.values must be at most the \d+ bytes of hidden"),
        ("LOAD", {"rows": 2047, "size": 2**14 - 1}, r"LOAD.dst must be at most the \d+ bytes of residual, not \d+"),
        ("STORE", {"rows": 2047, "size": 2**14 - 1}, r"STORE.src must be at most the \d+ bytes of residual, not \d+"),
    ],
)
def test_more_than_a_memory_has_is_refused_before_it_is_counted(name, operands, text):
    """Each of these would be millions of pieces or tiles."""
    with pytest.raises(IntegrityError, match=text + ".*compile the stream again"):
        run([word(name, **operands)], make_spec(), ring=64)
