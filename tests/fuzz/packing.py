"""Bundles taken apart, and put together again with every hash right."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any


def members_of(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of a bundle in order."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        for entry in archive.infolist():
            yield entry.filename, archive.read(entry)


def seal(manifest: Any, sections: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Members of a bundle whose manifest has the sizes and hashes of ``sections``, where it has any."""
    listed = manifest.get("sections") if isinstance(manifest, dict) else None
    for entry in listed if isinstance(listed, list) else []:
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name in sections:
            entry |= {"bytes": len(sections[name]), "sha256": hashlib.sha256(sections[name]).hexdigest()}
    text = json.dumps(manifest, separators=(",", ":")).encode()
    digest = f"{hashlib.sha256(text).hexdigest()}  manifest.json\n".encode()
    return [("manifest.json", text), ("manifest.sha256", digest), *sections.items()]
