"""Bundles with bytes or members changed, hashes left as they were: none may be taken."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from edgemtl.bundle import open_bundle
from edgemtl.bundle.archive import Member, lay_out
from tests.fuzz import materials
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import change_bytes
from tests.fuzz.packing import members_of

NAMES = (
    *("../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\x", "a\\b", ".hidden", "-rf", "a//b", "a/", ".."),
    *("x" * 400, "a\0b", "weights.bin ", "WEIGHTS.BIN", "manifest.json"),
)


def lay_out_members(members: Sequence[tuple[str, bytes]]) -> bytes:
    """The archive as the writer lays it out."""
    layout = lay_out([Member(name, len(data), zlib.crc32(data)) for name, data in members])
    parts = [place.header + data for place, (_, data) in zip(layout.members, members, strict=True)]
    return b"".join(parts) + layout.directory


def change_members(members: list[tuple[str, bytes]], rng: Random) -> bytes:
    """Members doubled, dropped, renamed, added, reordered, exchanged or changed, checksums right."""
    at = rng.randrange(len(members))
    name, data = members[at]
    match rng.randrange(7):
        case 0:
            members.insert(at, members[at])
        case 1:
            del members[at]
        case 2:
            members[at] = (rng.choice(NAMES), data)
        case 3:
            members.append((rng.choice(NAMES), b"more"))
        case 4:
            rng.shuffle(members)
        case 5:
            members += [(f"f{index}", b"") for index in range(rng.choice((1, 1010, 20_000)))]
        case _:
            members[at] = (name, change_bytes(data, rng))
    return lay_out_members(members)


def prepare(folder: Path) -> Callable[[int], str]:
    """A changed bundle of the CPU or of the board, opened."""
    good = [(materials.folder(folder.parent / "materials") / n).read_bytes() for n in (materials.CPU, materials.BOARD)]
    path = folder / "changed.edgemtl"

    def act(seed: int) -> str:
        rng = Random(seed)
        original = rng.choice(good)
        changed = change_bytes(original, rng) if rng.random() < 0.7 else change_members([*members_of(original)], rng)
        path.write_bytes(changed)
        with open_bundle(path):
            if changed != original:
                raise AssertionError("a changed bundle was taken")
        return "unchanged"

    return act


SURFACE = Surface("bundles, bytes and members", prepare)
