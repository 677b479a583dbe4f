"""Who signed a bundle, and for what: a member behind the manifest, and what a reader demands of it.

Signed are the model version, the counter and every byte of the manifest, which holds the hash of every section.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from edgemtl.bundle.dialect import DIALECT, parse_document
from edgemtl.errors import ConfigError, IntegrityError, UsageError
from edgemtl.records import Field, integer, read
from edgemtl.records.rules import hexadecimal
from edgemtl.records.types import Name
from edgemtl.signing import SigningKey, is_signature, read_public_key

SIGNATURE = "manifest.sig"
MAX_BYTES = 4096
MAX_COUNTER = (1 << 63) - 1
_PURPOSE = b"edgemtl bundle signature 1\n"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64


@dataclass(frozen=True)
class Signature:
    """The member: the signer's public key and the signature, hexadecimal, the version of the model and the counter."""

    key: Annotated[str, hexadecimal(2 * _KEY_BYTES)]
    model_version: Name
    counter: Annotated[int, integer(0, MAX_COUNTER)]
    signature: Annotated[str, hexadecimal(2 * _SIGNATURE_BYTES)]

    def to_bytes(self) -> bytes:
        """The member's one spelling."""
        return _canonical(asdict(self))


@dataclass(frozen=True)
class Trust:
    """What a reader demands: one of these public keys, hexadecimal, and a counter of at least ``min_version``."""

    keys: tuple[str, ...]
    min_version: int = 0


def read_trust(keys: str | Path | Sequence[str | Path] | None, min_version: int | None = None) -> Trust | None:
    """The demands of a caller: public key files, and the least counter; None where there are neither.

    Raises UsageError for a demand that no bundle could be held to, InputError for a file that holds no key,
    UnsupportedError where signatures cannot be checked here.
    """
    if keys is None:
        if min_version is not None:
            raise UsageError("min_version must come with keys: a counter that nobody signed says nothing; give --keys")
        return None
    paths = [keys] if isinstance(keys, str | Path) else list(keys)
    if not paths:
        raise UsageError("keys must name at least one public key file, not none; leave it out to take unsigned bundles")
    if min_version is not None and (type(min_version) is not int or not 0 <= min_version <= MAX_COUNTER):
        raise UsageError(f"min_version must be a whole number from 0 to {MAX_COUNTER}, not {min_version!r}")
    return Trust(tuple(read_public_key(Path(path)).hex() for path in paths), min_version or 0)


def sign_manifest(manifest: bytes, key: SigningKey, model_version: str, counter: int) -> Signature:
    """The signature of a manifest's bytes. The same key, version and counter give the same bytes (RFC 8032)."""
    signature = key.sign(_message(manifest, model_version, counter))
    return Signature(key.public.hex(), model_version, counter, signature.hex())


def read_signature(data: bytes) -> Signature:
    """The member from its bytes, which must be its one spelling; says nothing about whether it is true.

    Raises IntegrityError.
    """
    try:
        document = parse_document(data, SIGNATURE) if len(data) <= MAX_BYTES else None
        signature = read(Signature, Field(SIGNATURE, document, DIALECT))
    except ConfigError as error:
        raise IntegrityError(str(error)) from None
    if signature.to_bytes() != data:
        raise IntegrityError(f"{SIGNATURE} must be spelled as edgemtl writes it, and is not; sign the bundle again")
    return signature


def check_signature(signature: Signature | None, manifest: bytes, trust: Trust) -> None:
    """Raise IntegrityError, which names what is wrong, unless the signature of ``manifest`` is as ``trust`` demands."""
    if signature is None:
        raise IntegrityError("the bundle must be signed by a trusted key, and is unsigned; get a signed one")
    if signature.key not in trust.keys:
        raise IntegrityError(
            f"the bundle must be signed by a trusted key, not by the key {signature.key[:16]}...; get one that is"
        )
    message = _message(manifest, signature.model_version, signature.counter)
    if not is_signature(bytes.fromhex(signature.key), bytes.fromhex(signature.signature), message):
        raise IntegrityError(
            f"{SIGNATURE} must be the signature of this manifest, model version and counter, and is not: "
            f"the bundle was altered after it was signed; get it again"
        )
    if signature.counter < trust.min_version:
        raise IntegrityError(
            f"the counter of the bundle must be at least {trust.min_version}, not {signature.counter}: "
            f"it is older than what is accepted; get a newer one"
        )


def _message(manifest: bytes, model_version: str, counter: int) -> bytes:
    return _PURPOSE + _canonical({"model_version": model_version, "counter": counter}) + manifest


def _canonical(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
