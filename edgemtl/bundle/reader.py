"""Reading a bundle: mapped once, and every byte checked before anything in it is used."""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from edgemtl.bundle.archive import AGAIN, check_crc, read_layout, sha256
from edgemtl.bundle.checks import check_sections
from edgemtl.bundle.dialect import parse_document
from edgemtl.bundle.document import parse_manifest
from edgemtl.bundle.fpga import HOST_CONSTANTS, FpgaProgram
from edgemtl.bundle.golden import Golden, StoredInput, expand_input
from edgemtl.bundle.indices import check_indices
from edgemtl.bundle.manifest import (
    MANIFEST,
    MANIFEST_SHA256,
    WEIGHTS,
    GoldenEntry,
    Manifest,
    Section,
    golden_paths,
)
from edgemtl.bundle.npy import Array, read_npy
from edgemtl.bundle.segment import Segment
from edgemtl.bundle.signature import MAX_BYTES as MAX_SIGNATURE
from edgemtl.bundle.signature import SIGNATURE, Signature, Trust, check_signature, read_signature
from edgemtl.errors import ConfigError, InputError, IntegrityError, UsageError

MAX_MANIFEST = 8 << 20


class Bundle:
    """An open bundle whose every byte has been checked.

    Views of its sections are writable and private: what is written there never reaches the file. ``signature``: who
    says that it is theirs, None where nobody does; true only where it was opened with keys.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        sections: Mapping[str, memoryview],
        signature: Signature | None,
        mapping: mmap.mmap,
    ) -> None:
        self.path, self.manifest, self.signature = path, manifest, signature
        self._mapping, self._sections = mapping, dict(sections)

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def section(self, name: str) -> memoryview:
        """A section's bytes in the mapping.

        Raises UsageError for a name that is not there or a closed bundle.
        """
        if name not in self._sections:
            raise UsageError(f"{self.path}: the bundle must be open and hold {name!r}, and does not; see bundle info")
        return self._sections[name]

    def weights(self, name: str = WEIGHTS) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """A section of weights as uint8 [its bytes, or one], aligned to a page, private to this process."""
        section = self.section(name)
        return np.frombuffer(section, dtype=np.uint8) if len(section) else np.zeros(1, np.uint8)

    def member(self, name: str) -> bytes:
        """A copy of a section, hashed after the copy: no later change of the file can reach it.

        Raises UsageError as `section` does, IntegrityError where the file has changed since it was opened.
        """
        data = bytes(self.section(name))
        _check_section(next(section for section in self.manifest.sections if section.name == name), data)
        return data

    def golden(self, task: str) -> Golden:
        """A task's plain golden pair, the input in full. Raises UsageError for an unknown task."""
        return next(self.goldens(task))

    def goldens(self, task: str) -> Iterator[Golden]:
        """All golden pairs of a task, the plain one first. Raises UsageError for an unknown task."""
        entries = [entry for entry in self.manifest.golden if entry.task == task]
        if not entries:
            raise UsageError(f"task must be one of {', '.join(t.name for t in self.manifest.tasks)}, not {task!r}")
        return map(self._golden, entries)

    def _golden(self, entry: GoldenEntry) -> Golden:
        *parts, output = _read_golden(self.manifest, entry, self.section)
        inputs = {
            of.name: expand_input(StoredInput(part, of.fill), self.manifest.input(of.name).shape)
            for of, part in zip(entry.inputs, parts, strict=True)
        }
        return Golden(entry.task, entry.case, inputs, output.copy(), entry.output_stride, entry.tolerance)

    def close(self) -> None:
        """Forget the sections; the mapping goes with the last view of it."""
        self._sections.clear()
        with contextlib.suppress(BufferError):
            self._mapping.close()


def open_bundle(path: str | Path, copy: bool = False, trust: Trust | None = None) -> Bundle:
    """Map a bundle, or ``copy`` it into memory, and check all of it: container, manifest, hashes, goldens, indices.

    trust: what its signature must be, checked before the manifest is read; None takes unsigned bundles too.
    Raises InputError where there is no such file, IntegrityError where bytes are not the ones that were
    written, ConfigError where the bytes are intact but the manifest is invalid or of a newer schema.
    """
    path = Path(path)
    mapping = _map(path, copy)
    try:
        return Bundle(path, *_read(memoryview(mapping), trust), mapping)
    except (IntegrityError, ConfigError) as error:
        failure = type(error)(f"{path}: {error}")
    # Raised here because the first error's traceback holds views of the mapping, which must go now.
    raise failure


def read_manifest(path: str | Path, trust: Trust | None = None) -> Manifest:
    """The manifest of a bundle alone, for what it says before anything is run; sections are neither read nor checked.

    trust: as of `open_bundle`. Raises what `open_bundle` raises for the file, its members, signature and manifest.
    """
    path = Path(path)
    mapping = _map(path, copy=False)
    try:
        data = memoryview(mapping)
        items = read_layout(data).members
        return _read_manifest({i.member.name: data[i.data_offset :][: i.member.bytes] for i in items}, trust)[0]
    except (IntegrityError, ConfigError) as error:
        failure = type(error)(f"{path}: {error}")
    raise failure


def _map(path: Path, copy: bool) -> mmap.mmap:
    """The file mapped privately, or ``copy``, in memory of this process."""
    try:
        # Without O_NONBLOCK a named pipe would block here for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: must be a readable bundle; {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            raise IntegrityError(f"{path}: a bundle must be a regular file that is not empty; {AGAIN}")
        if copy:
            return _copy(descriptor, status.st_size)
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise InputError(f"{path}: must be a readable bundle; {error.strerror}") from None
    finally:
        os.close(descriptor)


def _copy(descriptor: int, size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size)
    with open(descriptor, "rb", closefd=False) as file:
        file.readinto(memory)
    return memory


def _read(data: memoryview, trust: Trust | None) -> tuple[Manifest, dict[str, memoryview], Signature | None]:
    layout = read_layout(data)
    members = {item.member.name: data[item.data_offset :][: item.member.bytes] for item in layout.members}
    manifest, signature = _read_manifest(members, trust)
    signed = [SIGNATURE] if signature else []
    names = [MANIFEST, MANIFEST_SHA256, *signed, *(section.name for section in manifest.sections)]
    if list(members) != names:
        raise IntegrityError(
            f"the members must be {', '.join(names)}, in this order, not {', '.join(members)}; {AGAIN}"
        )
    for section in manifest.sections:
        _check_section(section, members[section.name])
    for item in layout.members:
        check_crc(data, item)
    for entry in manifest.golden:
        _read_golden(manifest, entry, members.__getitem__)
    check_indices(manifest.weights, WEIGHTS, members[WEIGHTS])
    if isinstance(manifest.program, FpgaProgram):
        for host in manifest.program.hosts:
            check_indices(host.tensors, host.weights, members[host.weights])
        check_indices(manifest.program.constants, HOST_CONSTANTS, members[HOST_CONSTANTS])
        for task in manifest.program.tasks.values():
            for segment in task.segments:
                read_layer_index(segment, members[segment.layer_index])
    return manifest, members, signature


def _read_manifest(members: Mapping[str, memoryview], trust: Trust | None) -> tuple[Manifest, Signature | None]:
    """The manifest, parsed after its signature is what ``trust`` demands, and the signature."""
    text = _read_text(members)
    signature = read_signature(bytes(members[SIGNATURE][: MAX_SIGNATURE + 1])) if SIGNATURE in members else None
    if trust is not None:
        check_signature(signature, text, trust)
    manifest = parse_manifest(parse_document(text, MANIFEST))
    check_sections(manifest)
    return manifest, signature


def _read_text(members: Mapping[str, memoryview]) -> bytes:
    """A copy of the manifest's bytes, which have the hash beside them."""
    if list(members)[:2] != [MANIFEST, MANIFEST_SHA256]:
        raise IntegrityError(f"the first members must be {MANIFEST} and {MANIFEST_SHA256}; {AGAIN}")
    if len(members[MANIFEST]) > MAX_MANIFEST:
        raise IntegrityError(f"{MANIFEST} must be at most {MAX_MANIFEST} bytes, not {len(members[MANIFEST])}; {AGAIN}")
    text = bytes(members[MANIFEST])
    if members[MANIFEST_SHA256] != f"{sha256(text)}  {MANIFEST}\n".encode():
        raise IntegrityError(f"{MANIFEST} must have the SHA-256 in {MANIFEST_SHA256}, and has not; {AGAIN}")
    return text


def _check_section(section: Section, data: bytes | memoryview) -> None:
    if len(data) != section.bytes:
        raise IntegrityError(f"{section.name} must have {section.bytes} bytes, not {len(data)}; {AGAIN}")
    if (actual := sha256(data)) != section.sha256:
        raise IntegrityError(f"{section.name} must have the SHA-256 {section.sha256}, not {actual}; {AGAIN}")


def _read_golden(manifest: Manifest, entry: GoldenEntry, section: Callable[[str], memoryview]) -> list[Array]:
    """The stored parts of the inputs, and the stored elements of the output last."""
    *paths, last = golden_paths(entry.task, entry.case, len(entry.inputs))
    parts = [
        read_npy(section(path), of.shape, manifest.input(of.name).dtype, path)
        for of, path in zip(entry.inputs, paths, strict=True)
    ]
    dtype = manifest.program.tasks[entry.task].output.dtype
    return [*parts, read_npy(section(last), (entry.output_elements,), dtype, last)]


def read_layer_index(segment: Segment, data: bytes | memoryview) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """For each instruction of a segment, the place of its layer in ``segment.layers``, uint16 [instructions].

    Raises IntegrityError for a place that is none.
    """
    index = np.frombuffer(data, "<u2").astype(np.uint16)
    if index.size and int(index.max()) >= len(segment.layers):
        last = len(segment.layers) - 1
        raise IntegrityError(f"{segment.layer_index} must hold layers from 0 to {last}, not {index.max()}; {AGAIN}")
    return index
