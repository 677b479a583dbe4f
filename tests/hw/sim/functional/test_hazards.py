"""Hazards: a stream with every token it needs passes in any order, and each token that is taken away is missed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.errors import IntegrityError
from tests.hw.sim.functional.flows import FLOWS, experts, linear, random_layer
from tests.hw.sim.functional.rig import Rig, tokens_of, without

TOKENS = [(name, token) for name, made in FLOWS.items() for token in tokens_of(made().words)]
IDS = [f"{name} {token[0]}>{token[1]}" for name, token in TOKENS]


def last_of(ready):
    return ready[-1]


@pytest.mark.parametrize("name", FLOWS)
@given(st.randoms(use_true_random=False))
def test_any_order_gives_the_same_bytes(name, random):
    wanted = FLOWS[name]().run(chain=False)
    for pick in (last_of, random.choice):
        got = FLOWS[name]().run(chain=False, pick=pick)
        np.testing.assert_array_equal(got.windows.output, wanted.windows.output)
        assert len(got.result.routes) == len(wanted.result.routes)
    assert len(np.unique(wanted.windows.output)) > 20


@pytest.mark.parametrize(("name", "token"), TOKENS, ids=IDS)
def test_each_token_is_missed(name, token):
    """In stream order all results are right, and the hazard is found still; in others at least something is."""
    rig = FLOWS[name]()
    wanted = FLOWS[name]().run(chain=False).windows.output
    rig.words = without(rig.words, token)
    got = Rig(rig.spec, rig.ring, rig.words, rig.parameters, rig.input, rig.output)
    np.testing.assert_array_equal(got.run(chain=False, check_hazards=False).windows.output, wanted)
    with pytest.raises(IntegrityError, match="tokens must order the two, and do not"):
        rig.run(chain=False)
    with pytest.raises(IntegrityError):
        rig.run(chain=False, pick=last_of)


def test_the_message_names_both():
    rig = FLOWS["attention"]()
    token = next(t for t in tokens_of(rig.words) if t[2:] == ("matrix", "softmax"))
    rig.words = without(rig.words, token)
    text = (
        r"instruction 4 \(SOFTMAX src=scores0:0 .*\): it reads granule 0 of scores0 that instruction 3 "
        r"\(SCORES  src=queries:0 .*\) writes; tokens must order the two, and do not; compile the stream again"
    )
    with pytest.raises(IntegrityError, match=text):
        rig.run(chain=False)


def two_linears(waits: str, **second: object) -> Rig:
    rng, rig = np.random.default_rng(4), Rig()
    lines = [rig.weights(random_layer(rng, 16, 16, 22)) for _ in range(2)]
    rig.put("input", 0, rng.integers(-128, 128, (4, 16)).astype(np.int8))
    rig.words.append(linear("data", waits, ("input", 0), ("hidden", 0), lines[0]))
    places = {"src": ("hidden", 0), "dst": ("hidden", 8)} | second
    rig.words.append(linear(waits, "", release=lines[1], **places))
    rig.words[2] = type(rig.words[2])("LOAD", rig.words[2].operands, frozenset(), frozenset({"matrix"}))
    return rig


def test_the_matrix_unit_begins_before_the_last_results_are_there():
    two_linears("matrix").run(chain=False)
    with pytest.raises(
        IntegrityError, match=r"instruction 4 .* reads granule 0 of hidden that instruction 3 .* writes"
    ):
        two_linears("").run(chain=False)


@pytest.mark.parametrize("place", [("input", 0), ("hidden", 0)], ids=["write after read", "write after write"])
def test_the_matrix_unit_writes_in_order(place):
    two_linears("", src=("input", 2), dst=place, rows=1).run(chain=False)


def test_a_word_writes_nothing_that_it_reads():
    text = "rows written must lie apart from those read; granule 3 of hidden is both"
    with pytest.raises(IntegrityError, match=text):
        two_linears("matrix", dst=("hidden", 3)).run(chain=False)


def test_rows_lie_apart():
    with pytest.raises(IntegrityError, match="rows written must lie apart, and two hold granule 8 of hidden"):
        two_linears("matrix", dst_stride=0).run(chain=False)


def test_two_units_write_one_granule():
    rig = two_linears("")
    rig.words = rig.words[:4]
    rig.put("hidden", 2, np.ones((1, 16), np.int8))
    rig.words = [*rig.words[:3], rig.words[4], rig.words[3]]
    with pytest.raises(
        IntegrityError, match=r"instruction 4 .LINEAR .* it writes granule 2 of hidden .*LOAD .* writes;"
    ):
        rig.run(chain=False)


def test_rows_of_state_are_shared_by_a_copy_of_the_scores():
    """A second block beside the first one takes its row state before SOFTMAX is done with it."""
    rig = FLOWS["attention"]()
    at = [i for i, made in enumerate(rig.words) if made.name == "SCORES"]
    first = rig.words[at[0]]
    second = replace(first, operands={**first.operands, "dst": 64}, waits=frozenset(), signals=frozenset())
    rig.words.insert(at[0] + 2, second)
    with pytest.raises(IntegrityError, match=r"it writes granule 0 of the row state of scores0 .*SOFTMAX"):
        rig.run(chain=False)
    del rig.words[at[0] + 2]
    rig.words.insert(at[0] + 1, second)
    with pytest.raises(
        IntegrityError, match=r"SOFTMAX .* it reads granule 0 of the row state of scores0 .*SCORES .* writes"
    ):
        rig.run(chain=False)


def test_queues_are_emptied_while_they_are_read():
    rig = experts()
    again = next(made for made in rig.words if made.name == "ROUTE")
    again = replace(again, operands={**again.operands, "end": 0}, waits=frozenset(), signals=frozenset())
    rig.words.append(again)
    with pytest.raises(
        IntegrityError, match=r"instruction \d+ .ROUTE .* it writes granule 0 of the router's queues .* reads"
    ):
        rig.run(chain=False)


def test_what_is_in_the_cache_is_not_loaded_again():
    """With a place for both experts only the first two tokens write to the cache: readers need not be waited for."""
    rig = experts(cache=2)
    for token in [t for t in tokens_of(rig.words) if t[2:] == ("matrix", "weights")]:
        rig.words = without(rig.words, token)
    wanted = FLOWS["cached"]().run(chain=False)
    np.testing.assert_array_equal(rig.run(chain=False).windows.output, wanted.windows.output)
