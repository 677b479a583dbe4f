"""Every refusal with its words: memories, rings, tokens, and operands that contradict the machine."""

from dataclasses import replace

import numpy as np
import pytest

from edgemtl.errors import IntegrityError, UsageError
from edgemtl.hw.encoding import encode_stream
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.sim.functional import Windows, execute
from tests.hw.sim.functional.flows import FLOWS, attention, experts, layers, linear, random_layer
from tests.hw.sim.functional.rig import Rig, layer, spec_of, word


def refused(rig: Rig, text: str, **options: object) -> None:
    with pytest.raises(IntegrityError, match=text):
        rig.run(**options)


def changed(rig: Rig, place: int, **operands: int) -> Rig:
    """The flow with other operands in one word."""
    held = rig.words[place]
    rig.words[place] = replace(held, operands={**held.operands, **operands})
    return rig


def first(rig: Rig, name: str) -> int:
    return next(i for i, made in enumerate(rig.words) if made.name == name)


def alone(name: str, **operands: object) -> Rig:
    return Rig(words=[word(name, **operands)])


class TestBounds:
    """Sizes are compared with the memories before anything of that size is made."""

    def test_rows_that_lie_on_each_other(self):
        operands = {"address": 0, "stride": 0, "rows": 2047, "size": 4000}
        load = alone("LOAD", window="input", step=1, dst=("residual", 0), **operands)
        refused(load, r"rows must take at most the \d+ granules of residual, not 8188000; compile the stream again")
        store = alone("STORE", window="scratch", step=0, src=("residual", 0), **operands)
        refused(store, "rows written must lie apart in the 65536 bytes of window scratch, and take 131008000")

    def test_sums_that_lie_on_each_other(self):
        rig = alone("OPEN", high=("residual", 0), low=("hidden", 0), stride=0, rows=2047, width=8000)
        refused(rig, r"rows must take at most the \d+ granules of residual, not 2047000")

    def test_pixels_that_lie_on_each_other(self):
        sizes = {
            "width": 1658,
            "height": 2047,
            "stride": 1793,
            "first": 0,
            "rows": 63,
            "src_wrap": 91,
            "dst_wrap": 2047,
            "factor": 2,
        }
        rig = alone("ENLARGE", src=("residual", 0), dst=("hidden", 0), **sizes)
        refused(rig, r"rows must take at most the \d+ granules of hidden, not 374572044")

    def test_attention_over_more_keys_than_there_are(self):
        operands = {"src_stride": 0, "rows": 1, "k": 96, "heads": 1, "keys_stride": 0, "count": 8000, "dst_stride": 1}
        rig = alone("SCORES", src=("queries", 0), keys=("constants", 0), dst=("scores0", 0), shift=1, **operands)
        refused(rig, r"rows must take at most the \d+ granules of \w+, not \d+")


class TestMemory:
    def test_bytes_never_written(self):
        rig = alone("SETTLE", high=("residual", 3), low=("hidden", 3), stride=2, rows=2, width=9)
        text = (
            r"instruction 0 \(SETTLE  high=residual:3 low=hidden:3 stride=2 rows=2 width=9\): bytes read must have "
            r"been written, and byte 0 of granule 3 of residual never was; it reads granules 3..6 of 6\d\d\d "
            r"\(a granule is 16 bytes\); compile the stream again"
        )
        refused(rig, text)

    def test_padding_is_never_read(self):
        rig = Rig()
        x = np.ones((2, 9), "<i2")
        rig.put("residual", 0, x)
        rig.add("OPEN", high=("residual", 0), low=("hidden", 0), stride=2, rows=2, width=9)
        rig.add("SETTLE", high=("residual", 0), low=("hidden", 0), stride=2, rows=2, width=10)
        refused(rig, "instruction 2 .* byte 2 of granule 1 of residual never was")

    def test_a_read_outside(self):
        rig = alone("SETTLE", high=("queries", 1023), low=("hidden", 0), stride=1, rows=2, width=8)
        refused(
            rig, r"granules must lie in 0..1023 of queries, and it needs granules 1023..1024 of 1024 \(a granule is"
        )

    def test_a_write_outside(self):
        rig = Rig()
        rig.put("constants", 1023, np.ones((2, 16), np.int8))
        refused(rig, "instruction 0 .*granules must lie in 0..1023 of constants, and it needs granules 1023..1024")

    def test_a_region_that_is_none(self):
        text = "high_region must be one of 0 residual, 1 hidden, 2 input, 3 scores0, .* 6 constants, not 7"
        refused(alone("SETTLE", high=(7, 0), low=("hidden", 0), stride=1, rows=1, width=8), text)

    def test_a_copy_that_the_engine_has_not(self):
        rig = alone("SETTLE", high=("scores1", 0), low=("hidden", 0), stride=1, rows=1, width=8)
        buffers = replace(rig.engine.buffers, scores=replace(rig.engine.buffers.scores, copies=1))
        rig.spec = replace(rig.spec, engine=replace(rig.engine, buffers=buffers))
        refused(rig, "high_region must be one of .*, not 4")

    def test_a_granule_stored_that_was_never_written(self):
        rig = Rig()
        rig.put("hidden", 0, np.ones((2, 16), np.int8))
        rig.get("hidden", 0, 3, 1, 16)
        refused(
            rig, "instruction 1 .*granules copied must have been written, and granule 0 of row 2 in hidden never was"
        )

    def norm(self) -> Rig:
        """Rows of 20 bytes in two granules: the padding of what NORM writes holds nothing."""
        rig = Rig()
        rig.put("residual", 0, np.arange(40).reshape(2, 20).astype("<i2"))
        made = {"src": ("residual", 0), "src_stride": 3, "dst": ("hidden", 0), "dst_stride": 2, "rows": 2, "width": 20}
        rig.add("NORM", **made, epsilon=1, mul=2**16, shift=12)
        return rig

    def test_padding_stays_padding_through_memory(self):
        rig = self.norm()
        common = {"window": "scratch", "stride": 2, "rows": 2, "size": 2, "step": 1}
        rig.add("STORE", src=("hidden", 0), **common)
        rig.add("LOAD", dst=("residual", 0), **common)
        rig.add("OPEN", high=("residual", 0), low=("hidden", 0), stride=2, rows=2, width=11)
        refused(rig, "instruction 4 .OPEN .*byte 4 of granule 1 of residual never was")

    def test_padding_stays_padding_in_an_image(self):
        rig = self.norm()
        made = {"src": ("hidden", 0), "src_wrap": 1, "width": 2, "height": 1, "stride": 2, "rows": 2}
        rig.add("ENLARGE", **made, dst=("residual", 0), dst_wrap=2, factor=2)
        rig.add("OPEN", high=("residual", 0), low=("hidden", 0), stride=2, rows=2, width=11)
        refused(rig, "instruction 3 .OPEN .*byte 4 of granule 1 of residual never was")


class TestWindows:
    def test_reading_beyond_the_parameters(self):
        rig = Rig()
        rig.weights(bytes(128))
        rig.parameters = rig.parameters[:100]
        text = "memory must lie in the 100 bytes of window parameters, and rows from lines 0..0 end at byte 128"
        refused(rig, text)

    def test_writing_beyond_the_output(self):
        rig = Rig()
        rig.put("hidden", 0, np.ones((2, 16), np.int8))
        rig.get("hidden", 0, 2, 1, 16)
        rig.output -= 2
        refused(rig, "memory must lie in the 0 bytes of window output, and rows from lines 0..1 end at byte 80")

    @pytest.mark.parametrize("window", ["parameters", "input"])
    def test_writing_what_is_read_only(self, window):
        rig = Rig()
        rig.put("hidden", 0, np.ones((1, 16), np.int8))
        rig.add("STORE", window=window, src=("hidden", 0), rows=1, size=1)
        refused(rig, f"a window written must be one of output, scratch, not {window}")

    def test_reading_scratch_never_written(self):
        text = "granules copied must have been written, and granule 0 of row 0 in window scratch never was"
        refused(alone("LOAD", window="scratch", dst=("hidden", 0), rows=1, size=1), text)

    def test_windows_are_bytes_that_can_be_written(self):
        held = np.zeros(64, np.uint8)
        with pytest.raises(UsageError, match="window input must be uint8 of one axis, not int8 of shape"):
            Windows(held, held.view(np.int8), held, held)
        fixed = np.zeros(64, np.uint8)
        fixed.flags.writeable = False
        with pytest.raises(UsageError, match="window output must be writable, and is not; copy it"):
            Windows(held, held, fixed, held)


class TestRing:
    def make(self, ring: int, release: int, offset: int = 0) -> Rig:
        rig = Rig(ring=ring)
        rig.weights(random_layer(np.random.default_rng(0), 16, 16, 20))
        rig.put("input", 0, np.ones((4, 16), np.int8))
        rig.words.append(linear("", "", ("input", 0), ("hidden", 0), release, offset=offset))
        return rig

    def test_lines_released_that_nobody_sent(self):
        text = (
            "instruction 2 .LINEAR .*an instruction must be able to go on, and this one waits for 7 lines in the ring, "
            "which holds 6 for ever; no other unit has work"
        )
        refused(self.make(8, 7), text)

    def test_weights_that_nobody_sent(self):
        refused(self.make(8, 0, offset=1), "waits for 7 lines in the ring, which holds 6 for ever")

    def test_weights_that_never_fit(self):
        text = (
            "instruction 0 .STREAM .*waits for room for 6 lines in the ring, which has 5 for ever; "
            "matrix stands at 2 and waits for 6 lines in the ring, which holds 0"
        )
        refused(self.make(5, 6), text)

    def test_lines_left(self):
        refused(
            self.make(8, 4), r"instruction 0 \(STREAM .*the ring must be empty at END, and holds 2 lines, the first"
        )

    def test_shifts_that_are_none(self):
        rig = Rig()
        lines = rig.weights(layer(16, np.ones((16, 16)), np.zeros(16), np.ones(16, int), np.full(16, 11)))
        rig.put("input", 0, np.ones((4, 16), np.int8))
        rig.words.append(linear("", "", ("input", 0), ("hidden", 0), lines))
        refused(rig, r"shifts of the weights must be in 12..43, not 11..11")

    def test_sums_beyond_26_bits(self):
        rig = Rig()
        bias = np.full(16, 2**26 - 16)
        lines = rig.weights(layer(16, np.ones((16, 16)), bias, np.ones(16, int), np.full(16, 20)))
        rig.put("input", 0, np.ones((4, 16), np.int8))
        rig.words.append(linear("", "", ("input", 0), ("hidden", 0), lines))
        refused(rig, "sums must keep below 67108864, and one has the magnitude 67108864")
        rig.words = []
        rig.parameters.clear()
        lines = rig.weights(layer(16, np.ones((16, 16)), bias - 1, np.ones(16, int), np.full(16, 20)))
        rig.put("input", 0, np.ones((4, 16), np.int8))
        rig.words.append(linear("", "", ("input", 0), ("hidden", 0), lines))
        rig.run()


class TestTokens:
    def test_units_that_wait_for_each_other(self):
        rig = layers()
        rig.words[0] = replace(rig.words[0], waits=frozenset({"router"}))
        text = (
            "instruction 0 .LOAD .*waits for credits of router for ever; matrix stands at 3 and waits for credits of "
            "data; vector stands at 6 and waits for credits of matrix; weights stands at 8 and waits for room for "
            "6 lines"
        )
        refused(rig, text, chain=False)

    def test_tokens_left(self):
        rig = layers()
        rig.words[-1] = replace(rig.words[-1], signals=frozenset({"router"}))
        text = rf"instruction {len(rig.words) - 1} \(STORE .*its token must be taken by router before END, and is not"
        refused(rig, text, chain=False)


class TestRouting:
    @pytest.mark.parametrize("name", ["STREAM", "LINEAR", "COMBINE"])
    def test_a_slot_before_there_is_a_list(self, name):
        rig = experts()
        rig.words = [replace(rig.words[first(rig, name)], waits=frozenset(), signals=frozenset())]
        refused(rig, f"instruction 0 .{name} .*this one waits for the list of a ROUTE for ever")

    ROUTES = (
        ({"begin": 0}, "begin must be 1 in the first ROUTE after a list was made, not 0"),
        ({"token": 2}, "token must be the number of tokens routed since begin, 0, not 2"),
        ({"k": 3}, "k must be in 1..2, the number of candidates, not 3"),
        ({"k": 0}, "k must be in 1..2, the number of candidates, not 0"),
        ({"experts": 1}, r"candidates must be some of 1 experts, not \[0, 1\]"),
        ({"experts": 257}, "experts must be in 1..256, not 257"),
        (
            {"cache": 300, "lines": 6},
            "300 places of 6 lines must fit the 512 lines of the cache of 64 bytes, not need 1800",
        ),
        ({"rows": 0}, "rows must be at least 1, not 0"),
    )

    @pytest.mark.parametrize(("operands", "text"), ROUTES, ids=[text[:30] for _, text in ROUTES])
    def test_route(self, operands, text):
        rig = experts()
        refused(changed(rig, first(rig, "ROUTE"), **operands), text)

    @pytest.mark.parametrize(("early", "text"), [([1, 1], r"not \[1, 1\]"), ([2], r"not \[2\]")])
    def test_early_experts(self, early, text):
        rig = experts()
        at = first(rig, "ROUTE") - 2
        rig.input[-64:] = np.pad(np.array([3, *bytes(31), *early], np.uint8), (0, 31 - len(early))).tobytes()
        changed(rig, at, size=3)
        changed(rig, at + 2, early=len(early))
        refused(rig, f"early experts must be different ones of 2 candidates, {text}")

    def test_early_experts_in_order_of_tokens(self):
        rig = experts()
        at = first(rig, "ROUTE") - 2
        changed(changed(rig, at, size=3), at + 2, early=1, cache=1)
        refused(rig, "early must be 0 in order of tokens, not 1")

    def test_queues_that_are_full(self):
        rig = experts()
        rig.spec = replace(rig.spec, engine=replace(rig.engine, routing_entries=3))
        refused(rig, "tokens times k must be at most the engine's routing_entries, 3, not 4")

    def test_a_cache_where_there_is_none(self):
        rig = experts()
        refused(
            changed(rig, first(rig, "STREAM"), cached=1), "cached must be 0 where the slot's list is not in order of"
        )

    def test_weights_of_an_entry_that_lie_nowhere(self):
        rig = experts()
        changed(rig, first(rig, "LINEAR"), cached=1, release=0)
        refused(rig, "weights of an entry must lie in its place in the cache, which has none, not need 6")

    def test_weights_beyond_a_place(self):
        rig = FLOWS["cached"]()
        refused(
            changed(rig, first(rig, "LINEAR"), offset=1), "in its place in the cache, which has 6 lines, not need 6"
        )

    def test_lines_beyond_a_place(self):
        rig = FLOWS["cached"]()
        refused(changed(rig, first(rig, "STREAM"), lines=7), "at most those of a place in the cache, 6, not 7")

    def test_releasing_what_is_cached(self):
        rig = FLOWS["cached"]()
        refused(
            changed(rig, first(rig, "LINEAR"), release=1), "release must be 0 where weights are in the cache, not 1"
        )


LINEARS = [
    ({"rows": 65}, "rows must be in 1..64, not 65"),
    ({"rows": 0}, "rows must be in 1..64, not 0"),
    ({"n": 0}, "n must be at least 1, not 0"),
    ({"k": 0}, "k must be at least 1, not 0"),
    ({"gather": 1}, "gather must be 0 without a slot, not 1"),
    ({"skip": 2}, "skip must be 0 without a slot, not 2"),
    ({"cached": 1}, "cached must be 0 without a slot, not 1"),
    ({"residual": 1}, "residual must be 0 where results are bytes, not 1"),
    ({"wide": 1, "table": 1, "offset": 0, "k": 1}, "table must be 0 where results are 16 bits, not 1"),
]
SCORES = [
    ({"heads": 0}, "heads must be in 1..3, not 0"),
    ({"shift": 0}, "shift must be in 1..62, not 0"),
    ({"count": 0}, "count must be at least 1, not 0"),
    ({"dst_region": 1}, "dst must lie in scores0 or scores1, not in hidden"),
]
MIXES = [
    ({"head": 2}, "head must be below the 2 heads, not 2"),
    ({"shift": 63}, r"shift with a row's exponent must be in 12..43, not \d+..\d+"),
    ({"src_region": 4}, "byte 0 of granule 0 of scores1 never was"),
    ({"heads": 3, "rows": 4}, "row 9 of the row state of scores0 must hold a reciprocal, not nothing"),
]
SOFTMAXES = [
    ({"rows": 9}, "byte 0 of granule 8 of scores0 never was"),
    ({"rows": 0}, "rows must be at least 1, not 0"),
    ({"src_region": 1}, "src must lie in scores0 or scores1, not in hidden"),
]
NORMS = [
    ({"epsilon": 0}, "epsilon must be in 1..281474976710656, not 0"),
    ({"width": 1025}, "width must be in 1..1024, not 1025"),
    ({"shift": 63}, r"shift with a row's exponent and halvings must be in 12..43, not \d+..\d+"),
]
WRONG = [
    (flow, name, *case)
    for flow, name, cases in (
        (layers, "LINEAR", LINEARS),
        (attention, "SCORES", SCORES),
        (attention, "MIX", MIXES),
        (attention, "SOFTMAX", SOFTMAXES),
        (layers, "NORM", NORMS),
    )
    for case in cases
]


@pytest.mark.parametrize(("flow", "name", "operands", "text"), WRONG, ids=[f"{w[1]} {w[3][:24]}" for w in WRONG])
def test_operands(flow, name, operands, text):
    rig = flow()
    place = first(rig, name)
    refused(changed(rig, place, **operands), rf"instruction {place} \({name} .*{text}")


def test_scores_that_changed_since():
    """SOFTMAX over scores of which one lies above the row's largest."""
    rig = attention()
    place = first(rig, "SOFTMAX")
    rig.words = rig.words[:place]
    rig.put("scores0", 0, np.full((8, 8), 2**15 - 1, "<i2"))
    rig.add("SOFTMAX", src=("scores0", 0), stride=1, rows=8, count=8)
    refused(rig, r"scores must be at most the largest of their row, and one is \d+ above it")


def test_scores_that_all_vanished():
    rig = attention()
    place = first(rig, "SOFTMAX")
    rig.words = rig.words[:place]
    rig.put("scores0", 0, np.full((8, 8), -(2**15), "<i2"))
    rig.add("SOFTMAX", src=("scores0", 0), stride=1, rows=8, count=8)
    refused(rig, "the weights of row 0 must sum to at least 1, not 0")


def test_more_rows_of_state_than_there_are():
    rig = Rig()
    rig.put("scores0", 0, np.zeros((1537, 8), "<i2"))
    rig.add("SOFTMAX", src=("scores0", 0), stride=1, rows=1537, count=8)
    refused(rig, "rows must lie in 0..1535 of the row state of scores0, not reach 1536")


def scores_of_three_heads(rows: int) -> Rig:
    """One query as often as there are rows, against one key."""
    rig = Rig(spec_of(96, 32, accumulator_rows=600))
    for region in ("queries", "input"):
        rig.put(region, 0, np.ones((1, 96), np.int8))
    made = {"src": ("queries", 0), "rows": rows, "k": 96, "heads": 3, "keys": ("input", 0), "count": 1}
    rig.add("SCORES", **made, dst=("scores1", 0), dst_stride=1, shift=1)
    return rig


def test_rows_of_state_are_full_with_three_heads_of_512():
    rig = scores_of_three_heads(512)
    rig.add("SOFTMAX", src=("scores1", 0), stride=1, rows=1536, count=1)
    out = rig.get("scores1", 1535, 1, 1, 1)
    assert rig.run().rows_of(out, 1, 1, "u1") == 255
    refused(scores_of_three_heads(513), "SCORES .*rows must lie in 0..1535 of the row state of scores1, not reach 1538")


CONV = {"kernel_height": 3, "kernel_width": 3, "stride": 1, "dilation": 1, "top": 1, "left": 1, "out_width": 4}
IMAGES = [
    ("CONV", {"rows": 5, "out_width": 13}, r"rows \* out_width must be at most the accumulator's 64 rows, not 65"),
    ("CONV", {"kernel_width": 0}, "kernel_width must be at least 1, not 0"),
    ("CONV", {"stride": 0}, "stride must be at least 1, not 0"),
    ("CONV", {"dilation": 0}, "dilation must be at least 1, not 0"),
    ("CONV", {"wrap": 0}, "wrap must be at least 1, not 0"),
    ("CONV", {"wide": 1, "table": 1}, "table must be 0 where results are 16 bits, not 1"),
    ("ENLARGE", {"first": 7, "rows": 2}, "rows written must lie in the 8 of the image, not end at 9"),
    ("ENLARGE", {"stride": 0}, "stride must be at least 1, not 0"),
]


@pytest.mark.parametrize(("name", "operands", "text"), IMAGES, ids=[f"{i[0]} {i[2][:24]}" for i in IMAGES])
def test_images(name, operands, text):
    rig = Rig()
    rig.weights(bytes(LINE_BYTES * 200))
    plain = {"src": ("hidden", 0), "dst": ("input", 0), "width": 4, "height": 4, "rows": 1}
    enlarge = {"stride": 1, "src_wrap": 4, "dst_wrap": 4, "factor": 2}
    own = enlarge if name == "ENLARGE" else CONV | {"wrap": 4, "k": 16, "n": 16}
    rig.add(name, **(plain | own | operands))
    refused(rig, text)


def test_halvings_are_three_bits():
    rig = Rig()
    rig.put("residual", 0, np.ones((1, 8), "<i2"))
    rig.put("constants", 0, np.array([[8] * 8, [0] * 8], np.int8))
    made = {"src": ("residual", 0), "dst": ("input", 0), "rows": 1, "width": 8, "epsilon": 1, "parameters": 1}
    rig.words.append(word("NORM", **made, mul=2**16, shift=12, from_=("constants", 0)))
    refused(rig, "halvings must be in 0..7, not 8..8")


def test_an_order_that_does_not_exist():
    with pytest.raises(UsageError, match="pick must return one of data, weights, not router"):
        layers().run(chain=False, pick=lambda ready: "router" if len(ready) > 1 else ready[0])


def test_a_stream_of_nothing():
    held = [np.zeros(0, np.uint8) for _ in range(4)]
    assert execute(encode_stream([], Rig().engine, 1), Rig().spec, Windows(*held)).routes == ()
