"""Bundles whose content was changed and whose hashes are right, opened and run: what a bad compiler might write.

Native code is left as it is: what that does is not for the reader to judge.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from edgemtl.runtime import Session
from tests.fuzz import materials
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import change_bytes, change_document
from tests.fuzz.packing import members_of, seal
from tests.fuzz.surfaces.bundle_bytes import lay_out_members

DEVICES = {materials.CPU: "cpu", materials.BOARD: "sim"}


def change_content(members: dict[str, bytes], rng: Random) -> bytes:
    """The manifest, a section other than code, or a tensor together with what the manifest says of it, changed."""
    sections = {name: data for name, data in members.items() if not name.startswith("manifest.")}
    manifest: Any = json.loads(members["manifest.json"])
    chance = rng.random()
    if chance < 0.5:
        return lay_out_members(seal(change_document(manifest, rng), sections))
    if chance < 0.8 and manifest["weights"]:
        sections["weights.bin"] = change_tensor(rng.choice(manifest["weights"]), sections["weights.bin"], rng)
        return lay_out_members(seal(manifest, sections))
    name = rng.choice([name for name in sections if not name.endswith(".so")])
    sections[name] = change_numbers(sections[name], rng) if rng.random() < 0.6 else change_bytes(sections[name], rng)
    return lay_out_members(seal(copy.deepcopy(manifest), sections))


def change_tensor(entry: dict[str, Any], weights: bytes, rng: Random) -> bytes:
    """Some values of a tensor set to what they could not be, and its range made to fit them."""
    changed = bytearray(weights)
    values = np.frombuffer(changed, entry["dtype"], math.prod(entry["shape"]), entry["offset"])
    for at in rng.choices(range(values.size), k=rng.choice((1, 4, values.size))):
        whole = np.iinfo(values.dtype) if values.dtype.kind in "iu" else None
        near = int(values[at]) + rng.choice((-64, -1, 1, 64)) if whole else 0
        values[at] = (
            rng.choice((-1, whole.min, whole.max, min(max(near, whole.min), whole.max), rng.randrange(100)))
            if whole
            else rng.choice((np.nan, np.inf, -np.inf, 1e38, 1e-42, 0.0))
        )
    if entry.get("range") is not None:
        entry["range"] = [int(values.min()), int(values.max())]
    return bytes(changed)


def change_numbers(data: bytes, rng: Random) -> bytes:
    """Whole words set to values that are far off, as an index or as a float: the size stays."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 64))):
        at = rng.randrange(0, max(1, len(changed) - 3), 4)
        changed[at : at + 4] = rng.choice((b"\xff" * 4, b"\0\0\xc0\x7f", b"\xff\xff\xff\x7f", rng.randbytes(4)))
    return bytes(changed[: len(data)])


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed bundle, opened and self-tested on its device."""
    good = materials.folder(folder.parent / "materials")
    bundles = [(dict(members_of((good / name).read_bytes())), device) for name, device in DEVICES.items()]
    path = folder / "changed.edgemtl"

    def act(seed: int) -> str:
        rng = Random(seed)
        members, device = bundles[0] if rng.random() < 0.7 else bundles[1]
        path.write_bytes(change_content(members, rng))
        with Session.open(path, device, threads=1) as session:
            passed = all(result.passed for result in session.selftest())
        return "passes its self-test" if passed else "fails its self-test"

    return act


SURFACE = Surface("bundles, content with right hashes, run", prepare)
