"""DRAM by rows, banks and refresh against hand-worked times, and what it does to streams; a second memory."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemtl.errors import UsageError
from edgemtl.hw.sim.cycle import simulate
from edgemtl.hw.sim.cycle.banks import Banks
from edgemtl.hw.sim.cycle.memory import PIECE_BYTES, Piece
from edgemtl.hw.spec import MemoryTiming, read_spec
from tests.hw.sim.streams import make_frame, word

# At 1,000 MHz a cycle is 1,000 ps: 10 to close a row, 20 to open one, 100 between openings, 30 behind a write.
TIMING = MemoryTiming(
    banks=4,
    row_bytes=4096,
    precharge_ps=10_000,
    activate_ps=20_000,
    row_cycle_ps=100_000,
    write_recovery_ps=30_000,
    read_to_write_ps=5_000,
    write_to_read_ps=40_000,
    refresh_ps=200_000,
    refresh_interval_ps=5_000_000,
)
RATE = 64


def times(*pieces: tuple[str, int, float]) -> list[tuple[float, float]]:
    """Begin and end of pieces of 2 KiB, 32 cycles each: client, address, when it was asked for."""
    banks, now, found = Banks(TIMING, RATE, 1000), 0.0, []
    for client, address, asked in pieces:
        now = max(now, asked)
        found.append(banks.serve(Piece(client, PIECE_BYTES, address, asked), now))
        now = found[-1][1]
    return found


def test_a_closed_row_is_opened_and_an_open_one_read_at_once():
    assert times(("load", 0, 0), ("load", 2048, 0)) == [(20, 52), (52, 84)]


def test_the_next_bank_is_opened_meanwhile():
    assert times(("load", 0, 0), ("load", 4096, 20)) == [(20, 52), (52, 84)]


def test_a_row_asked_for_late_is_waited_for():
    assert times(("load", 0, 0), ("load", 4096, 50)) == [(20, 52), (70, 102)]


def test_another_row_of_a_bank_waits_for_closing_and_for_the_time_between_openings():
    """Opened at 0, again at 100; later, when that has passed, closing and opening are left."""
    assert times(("load", 0, 0), ("load", 4 * 4096, 0)) == [(20, 52), (120, 152)]
    assert times(("load", 0, 0), ("load", 4 * 4096, 200)) == [(20, 52), (230, 262)]


def test_a_row_written_to_is_closed_later():
    (_, first), (second, _) = times(("store", 0, 0), ("store", 4 * 4096, 0))
    assert first == 52
    assert second == max(52 + 30 + 10, 100) + 20


def test_turning_takes_time():
    assert times(("store", 0, 0), ("load", 2048, 0), ("store", 2048, 0)) == [(20, 52), (92, 124), (129, 161)]


def test_a_piece_in_two_rows():
    (piece,) = times(("load", 3072, 0))
    assert piece == (20, 52)


def test_a_refresh_closes_all_rows():
    """Due at 5,000: the read that asks at 5,010 waits until 5,200 and for its row."""
    assert times(("load", 0, 0), ("load", 2048, 5010)) == [(20, 52), (5220, 5252)]


@given(st.lists(st.tuples(st.sampled_from(["load", "store", "weights"]), st.integers(0, 2**16)), min_size=1))
def test_pieces_neither_overlap_nor_beat_the_bus(pieces):
    found = times(*((client, address, 0.0) for client, address in pieces))
    assert all(end - begin >= PIECE_BYTES / RATE - 1e-9 for begin, end in found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))


def weights(lines: int):
    """A frame that reads weights and nothing else."""
    stream = word("STREAM", lines=lines)
    return make_frame([stream, word("LINEAR", rows=1, k=96, n=32, release=lines)], SPEC, ring=lines)


SPEC = read_spec("zcu104")


def test_a_long_run_of_weights_comes_close_to_the_peak():
    """Refresh takes 3.3%, rows next to nothing, as banks alternate."""
    frame = weights(16_000)
    (timing,) = simulate([frame], SPEC, banks=True)
    peak = SPEC.board.memory.peak_bytes_per_s / (SPEC.engine.clock_mhz * 1e6)
    share = 16_000 * 64 / peak / timing.cycles
    assert 0.94 < share < 1 - 0.033


def test_a_board_without_timing_is_refused():
    with pytest.raises(UsageError, match=r"kv260: board\.memory\.timing must be given"):
        simulate([weights(10)], read_spec("kv260"), banks=True)


def test_weights_lie_in_both_memories():
    option = replace(SPEC, board=replace(SPEC.board, option=SPEC.board.memory))
    frame = weights(16_000)
    (alone,), (both,) = simulate([frame], SPEC), simulate([frame], option)
    assert both.traffic == alone.traffic
    assert 0.5 <= both.cycles / alone.cycles < 0.51


def test_activations_stay_in_the_first_memory():
    option = replace(SPEC, board=replace(SPEC.board, option=SPEC.board.memory))
    load = word("LOAD", rows=500, size=32, step=16, dst_region=1, stride=32)
    frame = make_frame([load], SPEC)
    assert simulate([frame], option)[0].cycles == simulate([frame], SPEC)[0].cycles


def test_the_module_of_the_file_makes_the_encoder_of_the_same_stream_faster():
    one, two = (simulate([weights(16_000)], read_spec(board))[0].cycles for board in ("zcu104x2", "zcu104x2-sodimm"))
    assert two < 0.51 * one
