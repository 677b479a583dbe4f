"""Keys and the rows of weights that they become, tile by tile, with pauses on both sides."""

from __future__ import annotations

import numpy as np

from edgemtl.hw.sim.rtl.build import SOURCES, Design
from edgemtl.hw.sim.rtl.circuit import Circuit

ROWS, COLUMNS, LOAD_ROWS = 32, 16, 4


def test_tiles_of_keys() -> None:
    """Tiles of 1 to 16 keys and 1 to 8 beats; while nothing pauses a tile takes no longer than its keys."""
    rng = np.random.default_rng(3)
    tiles = [(int(rng.integers(1, 17)), int(rng.integers(1, 9)), i % 2) for i in range(40)]
    tiles += [(16, 8, i % 2) for i in range(9)]
    keys = [rng.integers(0, 256, (count, ROWS), np.uint8) for count, _, _ in tiles]
    rows = np.concatenate(keys)
    ends = np.concatenate([np.arange(count) == count - 1 for count, _, _ in tiles])
    beats, tags = (np.concatenate([[tile[i]] * tile[0] for tile in tiles]) for i in (1, 2))
    parameters = {"ROWS": ROWS, "COLUMNS": COLUMNS, "LOAD_ROWS": LOAD_ROWS}
    came, cycles, at, now = [], [], 0, 0
    with Circuit(Design("transposer", parameters, (SOURCES / "transposer.sv",)), seed=4) as circuit:
        circuit.run({"reset": [1]})
        while len(came) < sum(tile[1] for tile in tiles):
            pauses = 0.3 * (at < len(rows) - 9 * 16)
            valid, ready = at < len(rows) and rng.random() >= pauses, rng.random() >= pauses
            given = min(at, len(rows) - 1)
            inputs = {"in_valid": [int(valid)], "in_data": rows[given][None], "in_ends": [int(ends[given])]}
            inputs |= {"in_beats": [beats[given]], "in_tag": [tags[given]], "out_ready": [int(ready)]}
            out = circuit.run(inputs)
            at += int(valid and out["in_ready"][0])
            if ready and out["out_valid"][0]:
                came.append((out["out_data"][0], *(int(out[f"out_{name}"][0]) for name in ("number", "ends", "tag"))))
                cycles.append(now)
            now += 1
            assert now < 5000
    at = 0
    for tile, (count, number, tag) in zip(keys, tiles, strict=True):
        for beat in range(number):
            data, *names = came[at]
            assert names == [beat, int(beat == number - 1), tag]
            seen = data.reshape(LOAD_ROWS, COLUMNS)[:, :count]
            np.testing.assert_array_equal(seen, tile[:, LOAD_ROWS * beat : LOAD_ROWS * (beat + 1)].T)
            at += 1
    assert np.diff(cycles[-49::8]).tolist() == [16] * 6
