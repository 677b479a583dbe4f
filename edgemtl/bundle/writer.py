"""Writing a bundle: equal content gives equal bytes, and the file is there whole or not at all."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgemtl.bundle.archive import MAX_BYTES, Layout, Member, lay_out, sha256
from edgemtl.bundle.checks import expected_sections
from edgemtl.bundle.manifest import MANIFEST, MANIFEST_SHA256, Manifest, Section
from edgemtl.bundle.parse import parse_manifest
from edgemtl.bundle.reader import open_bundle
from edgemtl.errors import ConfigError
from edgemtl.paths import write_aside

Data = bytes | bytearray | memoryview


def write_bundle(
    path: str | Path,
    manifest: Manifest,
    sections: Mapping[str, Data],
    verify: Callable[[Path], None] | None = None,
) -> int:
    """Write a bundle and read it back before it takes the place of ``path``; return its size in bytes.

    sections: by member name the library, "weights.bin" and two golden members per task (``pack_golden``); the
    manifest's own list of sections is filled in here. verify: called with the finished file before it has its name.
    Raises ConfigError where the manifest is invalid or its sections are not the ones given, OutputError where the
    file cannot be written, and what ``verify`` raises.
    """
    path = Path(path)
    members = _members(manifest, sections)
    with write_aside(path) as aside:
        _write(aside, lay_out([_stamp(name, data) for name, data in members]), [data for _, data in members])
        with open_bundle(aside):
            pass
        if verify is not None:
            verify(aside)
    return path.stat().st_size


def _members(manifest: Manifest, sections: Mapping[str, Data]) -> list[tuple[str, Data]]:
    names = expected_sections(manifest)
    if set(sections) != set(names):
        raise ConfigError(f"the sections must be {', '.join(names)}, not {', '.join(sorted(sections))}")
    listed = tuple(Section(name, len(sections[name]), sha256(sections[name])) for name in names)
    for section in listed:
        if section.bytes > MAX_BYTES:
            raise ConfigError(
                f"{section.name} must be at most {MAX_BYTES} bytes, not {section.bytes}; compile fewer tasks"
            )
    text = parse_manifest(manifest.with_sections(listed).to_json()).to_bytes()
    checksum = f"{sha256(text)}  {MANIFEST}\n".encode()
    return [(MANIFEST, text), (MANIFEST_SHA256, checksum), *((name, sections[name]) for name in names)]


def _stamp(name: str, data: Data) -> Member:
    return Member(name, len(data), zlib.crc32(data))


def _write(path: Path, layout: Layout, datas: Sequence[Data]) -> None:
    with open(path, "wb") as file:
        for item, data in zip(layout.members, datas, strict=True):
            file.write(item.header)
            file.write(data)
        file.write(layout.directory)
        file.flush()
        os.fsync(file.fileno())
