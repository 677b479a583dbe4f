"""The container: a zip file without compression that has exactly one spelling.

Names, sizes and checksums of the members decide every other byte of the file. The writer lays those bytes
out; the reader takes names and sizes from the directory, lays the file out again and compares. So the reader
needs no rule for each way a zip can be bent: a byte the writer would not have written is refused.

Format: PKWARE APPNOTE.TXT 4.3.7 (local header), 4.3.12 (directory), 4.3.16 (end); padding by an extra field
as Android's zipalign and apksig do (0xD935).
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgemtl.errors import IntegrityError

PAGE = 4096
LINE = 64
MAX_MEMBERS = 1024
MAX_BYTES = (1 << 32) - 2
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_PADDING = struct.Struct("<HHH")
_PADDING_ID = 0xD935
_VERSION = 10
_UNIX_CREATOR = 3 << 8 | 20
_FILE_MODE = 0o100644 << 16
_DATE = 1 << 5 | 1  # 1980-01-01, the first day a zip can name
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
AGAIN = "copy or compile the bundle again"


@dataclass(frozen=True)
class Member:
    """A member as its header describes it; sizes in bytes."""

    name: str
    bytes: int
    crc32: int


@dataclass(frozen=True)
class Placed:
    """A member in the file: where its header and its data start."""

    member: Member
    header_offset: int
    header: bytes = field(repr=False)

    @property
    def data_offset(self) -> int:
        """Where the data starts: a multiple of the member's alignment."""
        return self.header_offset + len(self.header)


@dataclass(frozen=True)
class Layout:
    """Every byte that is not a member's data: a header before each, the directory behind the last."""

    members: tuple[Placed, ...]
    directory_offset: int
    directory: bytes = field(repr=False)

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self.directory_offset + len(self.directory)


def sha256(data: bytes | bytearray | memoryview) -> str:
    """The SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def lay_out(members: Sequence[Member]) -> Layout:
    """The one layout of these members in this order."""
    placed = tuple(_place(members))
    end = placed[-1].data_offset + placed[-1].member.bytes if placed else 0
    central = b"".join(_central_header(item) for item in placed)
    count = len(placed)
    return Layout(placed, end, central + _END.pack(b"PK\5\6", 0, 0, count, count, len(central), min(end, MAX_BYTES), 0))


def _place(members: Sequence[Member]) -> Iterator[Placed]:
    offset = 0
    for member in members:
        header = _local_header(member, offset)
        yield Placed(member, offset, header)
        offset += len(header) + member.bytes


def _alignment(name: str) -> int:
    return PAGE if name.endswith((".bin", ".so")) else LINE


def _local_header(member: Member, offset: int) -> bytes:
    name, alignment = member.name.encode(), _alignment(member.name)
    extra = _PADDING.size + -(offset + _LOCAL.size + len(name) + _PADDING.size) % alignment
    return (
        _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _DATE, member.crc32, member.bytes, member.bytes, len(name), extra)
        + name
        + _PADDING.pack(_PADDING_ID, extra - 4, alignment)
        + bytes(extra - _PADDING.size)
    )


def _central_header(item: Placed) -> bytes:
    member, name = item.member, item.member.name.encode()
    sizes = (member.crc32, member.bytes, member.bytes)
    offset = min(item.header_offset, MAX_BYTES)
    return (
        _CENTRAL.pack(
            *(b"PK\1\2", _UNIX_CREATOR, _VERSION, 0, 0, 0, _DATE),
            *sizes,
            len(name),
            *(0, 0, 0, 0),
            _FILE_MODE,
            offset,
        )
        + name
    )


def read_layout(data: memoryview) -> Layout:
    """The layout of the file in ``data``; IntegrityError unless every byte outside the members is canonical.

    Allocates in proportion to the number of members, whatever sizes the file claims.
    """
    members = tuple(_read_directory(data))
    layout = lay_out(members)
    if layout.bytes != len(data):
        raise IntegrityError(f"the members' sizes must add up to {len(data)} bytes, not {layout.bytes}; {AGAIN}")
    for item in layout.members:
        if data[item.header_offset : item.data_offset] != item.header:
            raise IntegrityError(f"{item.member.name}: its header must agree with the directory, and does not; {AGAIN}")
    if data[layout.directory_offset :] != layout.directory:
        raise IntegrityError(f"the directory must be spelled as edgemtl writes it, and is not; {AGAIN}")
    return layout


def check_crc(data: memoryview, item: Placed) -> None:
    """Raise IntegrityError where a member's data is not what its CRC-32 says."""
    crc32 = zlib.crc32(data[item.data_offset : item.data_offset + item.member.bytes])
    if crc32 != item.member.crc32:
        raise IntegrityError(
            f"{item.member.name}: its CRC-32 must be {item.member.crc32:08x}, not {crc32:08x}; {AGAIN}"
        )


def _read_directory(data: memoryview) -> Iterator[Member]:
    offset, end, count = _read_end(data)
    seen: set[str] = set()
    for _ in range(count):
        if offset + _CENTRAL.size > end:
            raise IntegrityError(f"the directory must hold {count} members, and ends before the last; {AGAIN}")
        fields = _CENTRAL.unpack_from(data, offset)
        member = _read_member(
            fields, bytes(data[offset + _CENTRAL.size : min(end, offset + _CENTRAL.size + fields[10])])
        )
        if member.name in seen:
            raise IntegrityError(f"{member.name}: a member must be there once, not twice; {AGAIN}")
        seen.add(member.name)
        offset += _CENTRAL.size + fields[10]
        yield member


def _read_end(data: memoryview) -> tuple[int, int, int]:
    start = len(data) - _END.size
    if start < 0 or bytes(data[start : start + 4]) != b"PK\5\6":
        raise IntegrityError(f"the file must end with a zip directory; it is truncated or has bytes behind it; {AGAIN}")
    _, disk, _, count, _, size, offset, _ = _END.unpack_from(data, start)
    if disk or count > MAX_MEMBERS or offset + size != start:
        raise IntegrityError(
            f"the zip directory must end where the file ends and hold at most {MAX_MEMBERS} members; {AGAIN}"
        )
    return offset, start, count


def _read_member(fields: tuple[int, ...], raw_name: bytes) -> Member:
    flags, method, crc32, compressed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    try:
        name = raw_name.decode("ascii")
    except UnicodeDecodeError:
        name = ""
    if len(name) > 300 or not _NAME.fullmatch(name) or ".." in name:
        raise IntegrityError(f"a member's name must be a plain relative path, not {raw_name[:60]!r}; {AGAIN}")
    if flags & 1:
        raise IntegrityError(f"{name}: a member must not be encrypted; {AGAIN}")
    if method:
        raise IntegrityError(f"{name}: a member must be stored, not compressed with method {method}; {AGAIN}")
    if compressed != size or size > MAX_BYTES:
        raise IntegrityError(
            f"{name}: a member must have one size up to {MAX_BYTES}, not {compressed} and {size}; {AGAIN}"
        )
    return Member(name, size, crc32)
