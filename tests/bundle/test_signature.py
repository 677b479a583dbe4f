"""Signed bundles: by whom, over what, and that nothing less is taken where keys are demanded."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import zlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from edgemtl.bundle import open_bundle, read_manifest, read_trust, sign_bundle
from edgemtl.bundle.archive import Member, lay_out
from edgemtl.bundle.signature import SIGNATURE
from edgemtl.errors import (
    ConfigError,
    EdgemtlError,
    InputError,
    IntegrityError,
    OutputError,
    UnsupportedError,
    UsageError,
)
from edgemtl.signing import generate_key
from tests.bundle import fpga_samples, samples


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys "maker" and "other"."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("maker", "other"):
        assert generate_key(folder / name) == folder / f"{name}.pub"
    return folder


@pytest.fixture
def signed(tmp_path: Path, keys: Path) -> Path:
    samples.write(tmp_path / "a.edgemtl")
    sign_bundle(tmp_path / "a.edgemtl", tmp_path / "signed.edgemtl", keys / "maker", 7, "1.4.2")
    return tmp_path / "signed.edgemtl"


def repacked(path: Path, output: Path, changed: dict[str, bytes | None]) -> Path:
    """The bundle with other members, laid out as they must be; None leaves one out."""
    with open_bundle(path, copy=True) as bundle:
        names = ["manifest.json", "manifest.sha256", SIGNATURE, *(s.name for s in bundle.manifest.sections)]
        members = {name: changed.get(name, bytes(bundle.section(name))) for name in names}
    kept = {name: data for name, data in members.items() if data is not None}
    layout = lay_out([Member(name, len(data), zlib.crc32(data)) for name, data in kept.items()])
    parts = [place.header + data for place, data in zip(layout.members, kept.values(), strict=True)]
    output.write_bytes(b"".join(parts) + layout.directory)
    return output


def resigned(path: Path, output: Path, **fields: object) -> Path:
    """The bundle with other fields in its signature."""
    document = json.loads(member(path, SIGNATURE)) | fields
    return repacked(path, output, {SIGNATURE: json.dumps(document, separators=(",", ":")).encode() + b"\n"})


def member(path: Path, name: str) -> bytes:
    with open_bundle(path) as bundle:
        return bytes(bundle.section(name))


def test_a_signed_bundle_opens_with_and_without_keys(signed: Path, keys: Path) -> None:
    for trust in (None, read_trust(keys / "maker.pub"), read_trust([keys / "other.pub", keys / "maker.pub"], 7)):
        with open_bundle(signed, trust=trust) as bundle:
            assert bundle.signature is not None
            assert (bundle.signature.model_version, bundle.signature.counter) == ("1.4.2", 7)
            assert bundle.weights().tobytes() == samples.weights().tobytes()
            assert read_manifest(signed, trust) == bundle.manifest


def test_what_is_signed_can_be_checked_by_anyone(signed: Path, keys: Path) -> None:
    """As docs/bundle_format.md says it, without this project's code."""
    document = json.loads(member(signed, SIGNATURE))
    head = b'edgemtl bundle signature 1\n{"model_version":"1.4.2","counter":7}\n'
    public = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(document["key"]))
    public.verify(bytes.fromhex(document["signature"]), head + member(signed, "manifest.json"))
    pem = serialization.load_pem_public_key((keys / "maker.pub").read_bytes())
    assert public == pem


def test_the_same_signature_is_the_same_bytes(signed: Path, keys: Path, tmp_path: Path) -> None:
    sign_bundle(signed, tmp_path / "again", keys / "maker", 7, "1.4.2")
    assert (tmp_path / "again").read_bytes() == signed.read_bytes()
    sign_bundle(signed, tmp_path / "next", keys / "other", 8, "1.4.3")
    with open_bundle(tmp_path / "next", trust=read_trust(keys / "other.pub", 8)) as bundle:
        assert bundle.signature is not None
        assert bundle.signature.counter == 8


def test_a_board_s_bundle(tmp_path: Path, keys: Path) -> None:
    fpga_samples.write(tmp_path / "a")
    sign_bundle(tmp_path / "a", tmp_path / "b", keys / "maker", 0, "first")
    open_bundle(tmp_path / "b", trust=read_trust(keys / "maker.pub", 0)).close()


def refused(path: Path, message: str, keys: Path, *names: str, least: int | None = None) -> None:
    trust = read_trust([keys / f"{name}.pub" for name in names], least)
    for read in (open_bundle, read_manifest):
        with pytest.raises(IntegrityError, match=message):
            read(path, trust=trust)


def test_unsigned(signed: Path, keys: Path, tmp_path: Path) -> None:
    message = r"the bundle must be signed by a trusted key, and is unsigned; get a signed one"
    refused(repacked(signed, tmp_path / "b", {SIGNATURE: None}), message, keys, "maker")


def test_nothing_of_an_unsigned_manifest_is_parsed(tmp_path: Path, keys: Path) -> None:
    text = b"no JSON"
    digest = f"{hashlib.sha256(text).hexdigest()}  manifest.json\n".encode()
    path = samples.pack(tmp_path / "a", [("manifest.json", text), ("manifest.sha256", digest)])
    with pytest.raises(ConfigError, match=r"a JSON document"):
        read_manifest(path)
    refused(path, r"must be signed by a trusted key, and is unsigned", keys, "maker")


def test_another_s_key(signed: Path, keys: Path) -> None:
    refused(signed, r"must be signed by a trusted key, not by the key [0-9a-f]{16}\.\.\.; get one", keys, "other")


def test_an_older_counter(signed: Path, keys: Path) -> None:
    message = r"the counter of the bundle must be at least 8, not 7: it is older than what is accepted; get a newer"
    refused(signed, message, keys, "maker", least=8)


ALTERED = r"manifest.sig must be the signature of this manifest, model version and counter, and is not: the bundle was"


@pytest.mark.parametrize("fields", [{"counter": 9}, {"model_version": "1.4.3"}, {"signature": "0" * 128}])
def test_fields_of_the_signature_that_were_altered(
    signed: Path, keys: Path, tmp_path: Path, fields: dict[str, object]
) -> None:
    refused(resigned(signed, tmp_path / "b", **fields), ALTERED, keys, "maker", least=8)


def test_a_signer_who_names_a_trusted_key(signed: Path, keys: Path, tmp_path: Path) -> None:
    maker = json.loads(member(signed, SIGNATURE))["key"]
    sign_bundle(signed, tmp_path / "forged", keys / "other", 7, "1.4.2")
    refused(resigned(tmp_path / "forged", tmp_path / "b", key=maker), ALTERED, keys, "maker")


def test_an_altered_bundle_with_right_hashes(signed: Path, keys: Path, tmp_path: Path) -> None:
    """Another library, its hash in the manifest and the manifest's hash beside it: only the signature shows it."""
    document, files = samples.document(), samples.sections() | {"program/cpu.so": b"another library"}
    forged = samples.pack(tmp_path / "forged", samples.members(document, files))
    text, digest = (member(forged, name) for name in ("manifest.json", "manifest.sha256"))
    changed = {"manifest.json": text, "manifest.sha256": digest, "program/cpu.so": b"another library"}
    path = repacked(signed, tmp_path / "b", changed)
    open_bundle(path).close()
    refused(path, ALTERED, keys, "maker")


@pytest.mark.parametrize("trusted", [False, True])
def test_one_changed_byte_anywhere(signed: Path, keys: Path, tmp_path: Path, trusted: bool) -> None:
    """With keys and without: no byte of a signed bundle can be another one."""
    good, trust = signed.read_bytes(), read_trust(keys / "maker.pub") if trusted else None
    path = tmp_path / "damaged"
    for at in range(0, len(good), 1 if len(good) < 20_000 else 7):
        changed = bytearray(good)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        with pytest.raises(EdgemtlError):
            open_bundle(path, trust=trust)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"manifest.sig must be a JSON document; "),
        (b"[]", r"manifest.sig must be an object, not \[\]"),
        (b"{}" + bytes(5000), r"manifest.sig must be an object, not None"),
        (b'{"key":1}', r"manifest.sig must have the field 'model_version'"),
    ],
)
def test_signatures_that_are_none(signed: Path, tmp_path: Path, content: bytes, message: str) -> None:
    path = repacked(signed, tmp_path / "b", {SIGNATURE: content})
    with pytest.raises(IntegrityError, match=message):
        open_bundle(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "xy"}, "manifest.sig.key must be 64 lower-case hexadecimal digits, not 'xy'"),
        ({"counter": -1}, "manifest.sig.counter must be an integer from 0 to 9223372036854775807, not -1"),
        ({"model_version": "a b"}, "manifest.sig.model_version must be a name of at most 128 letters"),
        ({"signature": "A" * 128}, "manifest.sig.signature must be 128 lower-case hexadecimal digits"),
    ],
)
def test_fields_of_another_form(signed: Path, tmp_path: Path, fields: dict[str, object], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        open_bundle(resigned(signed, tmp_path / "b", **fields))


def test_one_spelling(signed: Path, tmp_path: Path) -> None:
    spaced = member(signed, SIGNATURE).replace(b",", b", ")
    with pytest.raises(
        IntegrityError, match=r"manifest.sig must be spelled as edgemtl writes it, and is not; sign the"
    ):
        open_bundle(repacked(signed, tmp_path / "b", {SIGNATURE: spaced}))


@pytest.mark.parametrize(
    ("keys_given", "least", "message"),
    [
        (None, 3, r"min_version must come with keys: a counter that nobody signed says nothing; give --keys"),
        ([], None, r"keys must name at least one public key file, not none; leave it out to take unsigned bundles"),
        ("maker.pub", -1, r"min_version must be a whole number from 0 to 9223372036854775807, not -1"),
        ("maker.pub", True, r"min_version must be a whole number from 0 to 9223372036854775807, not True"),
    ],
)
def test_demands_that_say_nothing(keys: Path, keys_given: object, least: int | None, message: str) -> None:
    given = keys / keys_given if isinstance(keys_given, str) else keys_given
    with pytest.raises(UsageError, match=message):
        read_trust(given, least)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counter", "version", "message"),
    [
        (-1, "a", r"--counter must be from 0 to 9223372036854775807, not -1"),
        (2**63, "a", r"--counter must be from 0 to 9223372036854775807, not 9223372036854775808"),
        (1, "a b", r"--model-version must be letters, digits and _.-, at most 128, not 'a b'"),
    ],
)
def test_what_cannot_be_signed(signed: Path, keys: Path, counter: int, version: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sign_bundle(signed, signed, keys / "maker", counter, version)


def test_files_that_hold_no_key(signed: Path, keys: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    other.write_bytes(public.public_bytes(serialization.Encoding.PEM, form))
    for path in (other, keys / "maker", signed):
        with pytest.raises(InputError, match=r"must be an Ed25519 public key in PEM without a password, and is none"):
            read_trust(path)
    with pytest.raises(InputError, match=r"nowhere: must be a readable key file; No such file or directory"):
        read_trust(tmp_path / "nowhere")
    for path in (keys / "maker.pub", signed):
        with pytest.raises(InputError, match=r"must be an Ed25519 private key in PEM without a password, and is none"):
            sign_bundle(signed, tmp_path / "b", path, 1, "a")
    assert not (tmp_path / "b").exists()


def test_keys_are_for_their_owner_and_never_overwritten(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        generate_key(tmp_path / "maker")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "maker").stat().st_mode) == 0o600
    before = {name: (tmp_path / name).read_bytes() for name in ("maker", "maker.pub")}
    with pytest.raises(OutputError, match=r"maker.pub must be a new file for a key, and is none: File exists"):
        generate_key(tmp_path / "maker")
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
    (tmp_path / "maker.pub").unlink()
    with pytest.raises(
        OutputError, match=r"maker must be a new file for a key, and is none: File exists; name another"
    ):
        generate_key(tmp_path / "maker")
    assert (tmp_path / "maker").read_bytes() == before["maker"]
    assert not (tmp_path / "maker.pub").exists()


def test_without_the_package_nothing_is_trusted(
    signed: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = read_trust(keys / "maker.pub")
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    open_bundle(signed).close()
    message = r"signatures: the package cryptography is not installed; pip install 'edgemtl\[sign\]'"
    for use in (
        lambda: read_trust(keys / "maker.pub"),
        lambda: open_bundle(signed, trust=trust),
        lambda: sign_bundle(signed, tmp_path / "b", keys / "maker", 1, "a"),
        lambda: generate_key(tmp_path / "key"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            use()
