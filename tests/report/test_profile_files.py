"""The files of a report: tables, the trace, and that all are there or none."""

from __future__ import annotations

import csv
import io
import json
import os
from itertools import pairwise

import pytest

from edgemtl.errors import EdgemtlError
from edgemtl.hw.isa import UNITS
from edgemtl.report.profile import SCHEMA_VERSION, write_profile
from edgemtl.report.profile.tables import KERNEL_COLUMNS, LAYER_COLUMNS, layers_csv
from edgemtl.report.profile.trace import spread, trace_json
from tests.report.profiles import make_cpu_profile, make_profile

FILES = {"report.html", "report.json", "layers.csv", "trace.json"}


@pytest.fixture(scope="module")
def profile():
    return make_profile()


@pytest.fixture(scope="module")
def events(profile):
    return trace_json(profile)["traceEvents"]


def test_a_row_for_every_layer(profile):
    rows = list(csv.DictReader(io.StringIO(layers_csv(profile))))
    assert tuple(rows[0]) == LAYER_COLUMNS
    assert len(rows) == sum(len(task.layers) for task in profile.tasks)
    assert sum(int(row["macs"]) for row in rows) == sum(task.macs for task in profile.tasks)
    assert sum(int(row["weight_bytes"]) for row in rows) == sum(task.traffic["weights"] for task in profile.tasks)
    assert all(row[None] is None for row in rows if None in row)


def test_a_row_for_every_kernel():
    rows = list(csv.DictReader(io.StringIO(layers_csv(make_cpu_profile()))))
    assert tuple(rows[0]) == KERNEL_COLUMNS
    assert len(rows) == 80


def test_tracks_are_named_by_unit(events, profile):
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names == {(p, t): unit for p in (1, 2) for t, unit in enumerate(UNITS, 1)}
    processes = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert [name.split()[0] for name in processes] == [task.task for task in profile.tasks]
    assert all("simulated" in name for name in processes)


def test_every_instruction_is_one_slice(events, profile):
    slices = [e for e in events if e["ph"] == "X"]
    assert {e["ph"] for e in events} == {"M", "X", "C"}
    assert len(slices) == sum(len(task.spans) for task in profile.tasks)
    task = profile.tasks[0]
    first = min(span.start for span in task.spans)
    for event in (e for e in slices if e["pid"] == 1):
        args = event["args"]
        assert args["text"].split()[0] == event["name"]
        assert args["layer"] in {layer.label for layer in task.layers}
        assert event["ts"] == pytest.approx((args["start_cycle"] - first) / 300, abs=1e-3)
        assert event["dur"] >= 0
    assert any(e["args"].get("stall_cycles", {}).get("weights") for e in slices)


def test_slices_of_a_track_do_not_cross_and_time_does_not_go_back(events):
    for process in (1, 2):
        timed = [e["ts"] for e in events if e["ph"] != "M" and e["pid"] == process]
        assert timed == sorted(timed)
        assert timed[0] >= 0
        for track in range(1, len(UNITS) + 1):
            own = [e for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) == (process, track)]
            assert all(a["ts"] + a["dur"] <= b["ts"] + 2e-4 for a, b in pairwise(own))


def test_counters_of_ring_and_memory(events, profile):
    counters = {e["name"] for e in events if e["ph"] == "C"}
    assert counters == {"weight ring, bytes", "memory, weights", "memory, activations"}
    ring = [e["args"]["bytes"] for e in events if e["name"] == "weight ring, bytes" and e["pid"] == 1]
    assert ring == [held for _, held in profile.tasks[0].ring]


def test_spread_bytes_are_all_there(profile):
    spans = [span for span in profile.tasks[0].spans if span.bytes]
    first, end = min(span.start for span in spans), max(span.end for span in spans)
    assert sum(spread(iter(spans), first, end, 777)) == pytest.approx(sum(span.bytes for span in spans))


def test_kernels_follow_each_other():
    events = [e for e in trace_json(make_cpu_profile())["traceEvents"] if e["ph"] == "X" and e["pid"] == 1]
    assert len(events) == 40
    assert all(a["ts"] + a["dur"] == pytest.approx(b["ts"], abs=1e-3) for a, b in pairwise(events))


def test_all_files_are_written_and_nothing_else(profile, tmp_path):
    folder = tmp_path / "deep" / "out"
    assert {path.name for path in write_profile(profile, folder)} == FILES == set(os.listdir(folder))
    assert json.loads((folder / "report.json").read_text())["schema_version"] == SCHEMA_VERSION
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]


def test_a_failure_leaves_the_files_that_were_there(profile, tmp_path, monkeypatch):
    write_profile(profile, tmp_path)
    (tmp_path / "layers.csv").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replaced = os.replace

    def fail(source, target):
        if target.name == "trace.json":
            raise OSError("no space left")
        replaced(source, target)

    monkeypatch.setattr("edgemtl.paths.os.replace", fail)
    with pytest.raises(EdgemtlError, match="must be written, and that failed: no space left"):
        write_profile(make_profile(tasks=("edge",), instructions=60), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_place_that_cannot_be_a_folder_is_named(profile, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgemtlError, match="file must be written, and that failed: File exists"):
        write_profile(profile, tmp_path / "file")
