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
        Path, typer.Option("--output", "-o", help="The private key to write; its public key is NAME.pub.")
    ],
    json: Json = False,
) -> None:
    """Make a key pair to sign bundles with: a private key for its owner alone, and a public one for devices."""
    from edgemtl.signing import generate_key

    public = generate_key(output)
    document = {"private": str(output), "public": str(public)}
    emit(document, json, lambda c: c.print(f"private key {output}, public key {public}", markup=False))


def sign(
    bundle: BundleFile,
    key: Annotated[Path, typer.Option("--key", help="The private key, of `bundle keygen`.")],
    counter: Annotated[int, typer.Option("--counter", help="Larger for each release: devices can refuse older ones.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The signed bundle to write.", metavar="APP.edgemtl")],
    model_version: Annotated[
        str | None, typer.Option("--model-version", help="What people call this version; default: the counter.")
    ] = None,
    json: Json = False,
) -> None:
    """Sign a bundle: the hashes of all of it, the version of the model and the counter, with an Ed25519 key."""
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
