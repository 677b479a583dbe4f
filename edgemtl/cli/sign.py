"""The verbs bundle keygen and bundle sign."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgemtl.cli.command import add_verb
from edgemtl.cli.console import emit
from edgemtl.cli.files import check_bundle, check_file
from edgemtl.cli.flags import BundleFile, Json
from edgemtl.paths import check_output_file


def keygen(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Private key file to write; the public key goes to NAME.pub.")
    ],
    json: Json = False,
) -> None:
    """Create a key pair for signing bundles: a private key for you, and a public key for devices."""
    from edgemtl.signing import generate_key

    public = generate_key(output)
    document = {"private": str(output), "public": str(public)}
    emit(document, json, lambda c: c.print(f"private key {output}, public key {public}", markup=False))


def sign(
    bundle: BundleFile,
    key: Annotated[Path, typer.Option("--key", help="Private key file, from `bundle keygen`.")],
    counter: Annotated[
        int, typer.Option("--counter", help="Larger for each release, so that devices can refuse older ones.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Signed bundle to write.", metavar="APP.edgemtl")],
    model_version: Annotated[
        str | None, typer.Option("--model-version", help="Name of this version, for people. Default: the counter.")
    ] = None,
    json: Json = False,
) -> None:
    """Sign a bundle with an Ed25519 key: its hashes, the model version and the counter."""
    check_bundle(bundle)
    check_file("--key", key, "a file of a private key, which `edgemtl bundle keygen` writes")
    check_output_file("-o", output, (bundle, key))
    from edgemtl.bundle import sign_bundle

    version = str(counter) if model_version is None else model_version
    signature = sign_bundle(bundle, output, key, counter, version)
    text = f"{output}: version {signature.model_version}, counter {counter}, key {signature.key[:16]}..."
    emit({"bundle": str(output), **asdict(signature)}, json, lambda c: c.print(text, markup=False))


def register(app: typer.Typer) -> None:
    """Add this module's verbs to ``app``, those on a bundle."""
    add_verb(app, "keygen", keygen, "bundle keygen")
    add_verb(app, "sign", sign, "bundle sign")
