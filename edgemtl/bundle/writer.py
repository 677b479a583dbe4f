"""Writing a bundle: equal content gives equal bytes, and the file is there whole or not at all."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgemtl.bundle.archive import MAX_BYTES, Layout, Member, lay_out, sha256
from edgemtl.bundle.checks import expected_sections
from edgemtl.bundle.document import parse_manifest
from edgemtl.bundle.manifest import MANIFEST, MANIFEST_SHA256, Manifest, Section
from edgemtl.bundle.reader import open_bundle
from edgemtl.bundle.signature import MAX_COUNTER, SIGNATURE, Signature, sign_manifest
from edgemtl.errors import ConfigError, UsageError
from edgemtl.paths import write_aside
from edgemtl.records import NAME as TASK_NAME
from edgemtl.records import shorten
from edgemtl.signing import read_private_key

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
    return _write_members(Path(path), _members(manifest, sections), verify)


def sign_bundle(path: Path, output: Path, key: Path, counter: int, model_version: str) -> Signature:
    """Write the bundle ``path`` with a signature by the private key in the file ``key``; one that it has is replaced.

    counter: larger for every release, so that a device can refuse an older one. model_version: what people call it. The
    same bundle, key, version and counter give the same bytes. Raises what `open_bundle` and `read_private_key` raise,
    UsageError for a counter or a version that cannot be signed, OutputError where the file cannot be written.
    """
    if not 0 <= counter <= MAX_COUNTER:
        raise UsageError(f"--counter must be from 0 to {MAX_COUNTER}, not {counter}")
    if not TASK_NAME.fullmatch(model_version):
        raise UsageError(f"--model-version must be letters, digits and _.-, at most 128, not {shorten(model_version)}")
    private = read_private_key(key)
    with open_bundle(path, copy=True) as bundle:
        names = (MANIFEST, MANIFEST_SHA256, *(section.name for section in bundle.manifest.sections))
        members: list[tuple[str, Data]] = [(name, bundle.section(name)) for name in names]
        signature = sign_manifest(bytes(bundle.section(MANIFEST)), private, model_version, counter)
        members.insert(len((MANIFEST, MANIFEST_SHA256)), (SIGNATURE, signature.to_bytes()))
        _write_members(output, members, None)
    return signature


def _write_members(path: Path, members: Sequence[tuple[str, Data]], verify: Callable[[Path], None] | None) -> int:
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
