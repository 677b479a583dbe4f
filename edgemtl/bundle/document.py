"""The manifest from JSON: every field read strictly by its type, then the fields compared with each other."""

from __future__ import annotations

from edgemtl.bundle.checks import check_manifest
from edgemtl.bundle.dialect import AGAIN, DIALECT
from edgemtl.bundle.manifest import SCHEMA_VERSION, Manifest
from edgemtl.errors import ConfigError
from edgemtl.records import Field, integer, read
from edgemtl.records.types import MAX_COUNT


def parse_manifest(document: object) -> Manifest:
    """The manifest a JSON document describes.

    Raises ConfigError, with the field's place, for anything that is missing, unknown, of the wrong type, out
    of range, contradictory, or of a newer schema. A document without "sections" has none yet.
    """
    whole = {"sections": [], **document} if isinstance(document, dict) else document
    root = Field("manifest", whole, DIALECT)
    _check_version(root)
    manifest = read(Manifest, root)
    check_manifest(manifest)
    return manifest


def _check_version(root: Field) -> None:
    version = root.entries().get("schema_version")
    if version is None:
        raise ConfigError(f"manifest must have the field 'schema_version'{AGAIN}")
    number = integer(0, MAX_COUNT).read(version)
    if number != SCHEMA_VERSION:
        advice = "update edgemtl to read this bundle" if number > SCHEMA_VERSION else "compile this older bundle again"
        raise ConfigError(f"manifest.schema_version must be {SCHEMA_VERSION}, not {number}; {advice}")
