"""Ed25519 keys and signatures (RFC 8032), by the package `cryptography`; keys are PEM files."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgemtl.errors import InputError, OutputError, UnsupportedError
from edgemtl.extras import install_hint

PUBLIC_SUFFIX = ".pub"
_PRIVATE_MODE, _PUBLIC_MODE = 0o600, 0o644
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class SigningKey:
    """A private key in use: the 32 bytes of its public key, and what signs a message."""

    public: bytes
    sign: Callable[[bytes], bytes] = field(repr=False)


def generate_key(path: Path) -> Path:
    """Write a new private key to ``path``, readable by its owner alone, and its public key beside it, as PATH.pub.

    Returns the path of the public key. Raises OutputError where one of the files is there already: a key is never
    overwritten.
    """
    _check_installed()
    from cryptography.hazmat.primitives import serialization as formats
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, public = Ed25519PrivateKey.generate(), path.with_name(path.name + PUBLIC_SUFFIX)
    pem = formats.Encoding.PEM
    private_text = key.private_bytes(pem, formats.PrivateFormat.PKCS8, formats.NoEncryption())
    public_text = key.public_key().public_bytes(pem, formats.PublicFormat.SubjectPublicKeyInfo)
    _create(public, public_text, _PUBLIC_MODE)
    try:
        _create(path, private_text, _PRIVATE_MODE)
    except OutputError:
        public.unlink()
        raise
    return public


def _create(path: Path, content: bytes, mode: int) -> None:
    """A new file of this mode, whatever the process's mask is. Raises OutputError where one is there."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except OSError as error:
        raise OutputError(f"{path} must be a new file for a key, and is none: {error.strerror}; name another") from None
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise OutputError(f"{path} must be written, and that failed: {error.strerror}; nothing is left") from None


def read_private_key(path: Path) -> SigningKey:
    """The private key in a PEM file. Raises InputError, UnsupportedError where `cryptography` is missing."""
    _check_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key(path, "private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private")
    return SigningKey(key.public_key().public_bytes_raw(), key.sign)


def read_public_key(path: Path) -> bytes:
    """The 32 bytes of the public key in a PEM file. Raises InputError, UnsupportedError without `cryptography`."""
    _check_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "public") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public")
    return key.public_bytes_raw()


def is_signature(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` by the holder of the 32 bytes ``public_key``."""
    _check_installed()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: must be a readable key file; {reason}") from None


def _no_key(path: Path, kind: str) -> InputError:
    return InputError(
        f"{path}: must be an Ed25519 {kind} key in PEM without a password, and is none; see bundle keygen"
    )


def _check_installed() -> None:
    """Raise UnsupportedError where `cryptography` is not there: nothing is taken for signed then."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError:
        reason = "the package cryptography is not installed"
        raise UnsupportedError("signatures", reason, install_hint("sign")) from None
