"""How sums become values, against the law: layers of every kind in turn, and tables that replace each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgemtl.hw import arith, law
from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit
from tests.hw.rtl.bits import packed

COLUMNS, LOAD, BANKS, LATENCY = 4, 16, 4, 10
BEGIN = 160
"""The cycle of the first row."""
FILES = tuple(SOURCES / f"{name}.sv" for name in ("delay", "dsp_mulc", "finish", "requantise"))
LIMIT = 2**26 - 1


def draw_layer(rng: np.random.Generator, ends: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bias, multiplier and shift of each column."""
    mul = rng.choice([0, 1, 2**16, 2**17 - 1], COLUMNS) if ends else rng.integers(0, 2**17, COLUMNS)
    shift = rng.choice([12, 43], COLUMNS) if ends else rng.integers(12, 44, COLUMNS)
    return rng.integers(-(2**20), 2**20, COLUMNS), mul, shift


def draw_totals(rng: np.random.Generator, mul: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Sums with bias whose results lie within 18 bits as far as the limit allows, so that few are all saturated."""
    size = rng.choice([9, 17, 62], (1, COLUMNS))
    most = np.minimum(2.0 ** (size + shift) / np.maximum(mul, 1), LIMIT)
    ends = rng.random((1, COLUMNS)) < 0.05
    inside = (rng.uniform(-1, 1, (1, COLUMNS)) * most).astype(int)
    return np.where(ends, rng.choice([-LIMIT, LIMIT], (1, COLUMNS)), inside)


def beats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8).reshape(-1, LOAD)


def test_finish_of_every_kind() -> None:
    rng = np.random.default_rng(12)
    layers = [draw_layer(rng, bank % 2 == 1) for bank in range(BANKS)]
    tables = [rng.integers(-128, 128, 256).astype(np.int8) for _ in range(3)]
    loads: list[tuple[dict[str, int], np.ndarray]] = []
    for bank, (bias, mul, shift) in enumerate(layers):
        data = bias.astype("<i4").tobytes() + arith.pack_scale(mul, shift).astype("<i4").tobytes()
        loads += [({"column_valid": 1, "column_bank": bank, "column_beat": i}, b) for i, b in enumerate(beats(data))]
    count = 4000
    rows = [draw_row(rng, layers) for _ in range(count)]
    # The third table comes late and takes the place of the first, from whose last row on only the second is used.
    switch, again = 2000, 2100
    cycles = BEGIN + count + LATENCY + 1
    inputs: dict[str, Any] = {"load_data": rng.integers(0, 256, (cycles, LOAD), np.uint8)}
    for name in ("column_valid", "column_bank", "column_beat", "table_valid", "table_which", "table_beat"):
        inputs[name] = np.zeros(cycles, int)
    for cycle, (fields, data) in enumerate(loads):
        inputs["load_data"][cycle] = data
        for name, value in fields.items():
            inputs[name][cycle] = value
    for number, start, pace in ((0, 20, 1), (1, 60, 4), (2, BEGIN + switch + LATENCY, 1)):
        for i, data in enumerate(beats(tables[number].tobytes())):
            inputs["load_data"][start + pace * i] = data
            for name, value in (("table_valid", 1), ("table_which", number % 2), ("table_beat", i)):
                inputs[name][start + pace * i] = value
    results, which = [], []
    for at, row in enumerate(rows):
        which.append(int(rng.integers(0, 2)) if at < switch or at >= again else 1)
        table = tables[which[-1] if at < again or which[-1] else 2]
        results.append(expected(row, layers[row["bank"]], table))
    for name in ("bank", "wide", "residual", "table", "zero", "low"):
        inputs[f"in_{name}"] = np.array([0] * BEGIN + [row[name] for row in rows] + [0] * (LATENCY + 1))
    inputs["in_which"] = np.array([0] * BEGIN + which + [0] * (LATENCY + 1))
    there = rng.random(cycles) < 0.9
    inputs["in_valid"] = there & (np.arange(cycles) >= BEGIN) & (np.arange(cycles) < BEGIN + count)
    inputs["in_tag"] = rng.integers(0, 256, cycles)
    sums = np.concatenate([np.zeros((BEGIN, COLUMNS), int), *(row["sums"] for row in rows)])
    inputs["in_sums"] = np.pad(packed(sums, 27), ((0, LATENCY + 1), (0, 0)))
    added = np.concatenate([np.zeros((BEGIN + 8, COLUMNS), int), *(row["added"] for row in rows)])
    inputs["residual"] = packed(np.pad(added, ((0, cycles - len(added)), (0, 0))), 16).view("<u8")[:, 0]
    parameters = {"COLUMNS": COLUMNS, "LOAD": LOAD, "BANKS": BANKS, "TAG": 8}
    with Circuit(Design("finish", parameters, FILES), seed=9) as circuit:
        circuit.run({"reset": [1]})
        out = circuit.run(inputs)
    came, given = np.flatnonzero(out["out_valid"]), np.flatnonzero(inputs["in_valid"])
    np.testing.assert_array_equal(came, given + LATENCY)
    np.testing.assert_array_equal(out["out_tag"][came], inputs["in_tag"][given])
    taken = np.flatnonzero(out["residual_take"])
    np.testing.assert_array_equal(taken, [cycle + 8 for cycle in given if inputs["in_residual"][cycle]])
    data = out["out_data"][came].astype("<u8").view(np.uint8).reshape(len(came), -1)
    for cycle, values in zip(given, data, strict=True):
        size = COLUMNS * (1 + rows[cycle - BEGIN]["wide"])
        np.testing.assert_array_equal(values[:size], results[cycle - BEGIN])
    busy = np.flatnonzero(out["table_busy"])
    # Eight entries a cycle; of the second table, whose beats come every fourth cycle, until the last one is copied.
    times = ((20, 32), (60, 4 * 15 + 2), (BEGIN + switch + LATENCY, 32))
    np.testing.assert_array_equal(busy, np.concatenate([start + 1 + np.arange(time) for start, time in times]))


def draw_row(rng: np.random.Generator, layers: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, Any]:
    bank, wide = int(rng.integers(0, BANKS)), int(rng.integers(0, 2))
    bias, mul, shift = layers[bank]
    return {
        "bank": bank,
        "wide": wide,
        "residual": wide and int(rng.integers(0, 2)),
        "table": 0 if wide else int(rng.integers(0, 2)),
        "zero": int(rng.integers(-128, 128)),
        "low": int(rng.choice([0, -128, rng.integers(-128, 128)])),
        "sums": draw_totals(rng, mul, shift) - bias,
        "added": rng.integers(-(2**15), 2**15, (1, COLUMNS)),
    }


def expected(row: dict[str, Any], layer: tuple[np.ndarray, np.ndarray, np.ndarray], table: np.ndarray) -> np.ndarray:
    """Bytes of the values by the law."""
    bias, mul, shift = layer
    how = law.Finish("int16" if row["wide"] else "int8", row["zero"], row["low"])
    added = row["added"] if row["residual"] else None
    values = law.finish(row["sums"] + bias, mul, shift, how, table if row["table"] else None, added)
    return np.ascontiguousarray(values.astype("<i2" if row["wide"] else np.int8)).view(np.uint8)[0]
