"""Signed bundles from the outside: keygen, sign, verify, and keys on every verb that runs a bundle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgemtl.cli.app import main
from tests.cli.test_errors import assert_fails


@pytest.fixture
def signed(bundle_file: Path, in_folder: Path) -> Path:
    """A folder with the keys maker and other, and the bundle signed.edgemtl of counter 7."""
    for name in ("maker", "other"):
        assert main(["-q", "bundle", "keygen", "-o", name]) == 0
    shutil.copy(bundle_file, "plain.edgemtl")
    assert sign("plain.edgemtl", "maker", 7, "signed.edgemtl") == 0
    np.save("image.npy", np.zeros((1, 3, 16, 24), np.float32))
    return in_folder


def sign(bundle: str, key: str, counter: int, output: str) -> int:
    return main(["-q", "bundle", "sign", bundle, "--key", key, "--counter", str(counter), "-o", output])


VERBS = {
    "run": ["--input", "image.npy", "-o", "out", "--force"],
    "selftest": [],
    "bench": ["--runs", "1", "--warmup", "0"],
    "profile": ["--device", "cpu", "--runs", "1", "--input", "image.npy", "-o", "report", "--force"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_runs_a_bundle(capsys, signed, verb):
    trusted = ["--keys", "other.pub", "--keys", "maker.pub", "--min-version", "7"]
    assert main(["-q", verb, "signed.edgemtl", *VERBS[verb], *trusted]) == 0
    capsys.readouterr()
    for bundle, more, message in (
        ("plain.edgemtl", ["--keys", "maker.pub"], "must be signed by a trusted key, and is unsigned"),
        ("signed.edgemtl", ["--keys", "other.pub"], "must be signed by a trusted key, not by the key"),
        (
            "signed.edgemtl",
            ["--keys", "maker.pub", "--min-version", "8"],
            "the counter of the bundle must be at least 8",
        ),
    ):
        assert main(["-q", verb, bundle, *VERBS[verb], *more]) == 5
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_told_of_a_bundle_before_its_signature_is_checked(capsys, signed, verb):
    trusted = ["--keys", "maker.pub"]
    wrong = ["--device", "sim"] if verb == "selftest" else ["--task", "dept"]
    assert main(["-q", verb, "plain.edgemtl", *VERBS[verb], *wrong, *trusted]) == 5
    assert "is unsigned" in capsys.readouterr().err
    assert main(["-q", verb, "signed.edgemtl", *VERBS[verb], *wrong, *trusted]) in (2, 3)
    assert wrong[1] in capsys.readouterr().err


def test_keys_that_are_not_there(capsys, signed):
    Path("folder").mkdir()
    for text, *words in (
        (
            "--keys must be a file of a public key, which `edgemtl bundle keygen` writes, but there is no file makr.pub"
            "; did you mean 'maker.pub'?",
            "selftest",
            "signed.edgemtl",
            "--keys",
            "makr.pub",
        ),
        (
            "--key must be a file of a public key, which `edgemtl bundle keygen` writes, but folder is a folder",
            "bundle",
            "verify",
            "signed.edgemtl",
            "--key",
            "folder",
        ),
        (
            "--key must be a file of a private key, which `edgemtl bundle keygen` writes, but there is no file no",
            "bundle",
            "sign",
            "plain.edgemtl",
            "--key",
            "no",
            "--counter",
            "1",
            "-o",
            "b.edgemtl",
        ),
    ):
        assert_fails(capsys, 2, text, *words)
    assert not Path("b.edgemtl").exists()


def test_eval(capsys, signed):
    Path("data/images").mkdir(parents=True)
    assert main(["-q", "eval", "plain.edgemtl", "--data", "data", "--keys", "maker.pub"]) == 5
    assert "is unsigned" in capsys.readouterr().err


def test_verify_and_info(capsys, signed):
    capsys.readouterr()
    arguments = ["-q", "bundle", "verify", "signed.edgemtl", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["signature"] is None, "without a key nothing is known of a signature"
    assert main([*arguments, "--key", "maker.pub", "--min-version", "7"]) == 0
    checked = json.loads(capsys.readouterr().out)["signature"]
    assert (checked["counter"], checked["model_version"]) == (7, "7")
    assert main(["bundle", "verify", "signed.edgemtl", "--key", "maker.pub"]) == 0
    assert f"what key {checked['key'][:16]}... signed, version 7, counter 7" in capsys.readouterr().out
    assert main(["bundle", "verify", "plain.edgemtl"]) == 0
    assert "no signature was checked" in capsys.readouterr().out
    assert main(["-q", "bundle", "verify", "signed.edgemtl", "--key", "other.pub"]) == 5
    assert main(["bundle", "info", "signed.edgemtl"]) == 0
    assert "signed, not verified: key" in capsys.readouterr().out


def test_the_same_signature_twice(signed):
    assert sign("plain.edgemtl", "maker", 7, "again.edgemtl") == 0
    assert Path("again.edgemtl").read_bytes() == Path("signed.edgemtl").read_bytes()


def test_nothing_is_overwritten(capsys, signed):
    key = Path("maker").read_bytes()
    assert main(["-q", "bundle", "keygen", "-o", "maker"]) == 1
    assert Path("maker").read_bytes() == key
    assert sign("plain.edgemtl", "maker", 8, "maker") == 2
    assert sign("plain.edgemtl", "maker", 8, "plain.edgemtl") == 2
    assert Path("maker").read_bytes() == key
    assert sign("plain.edgemtl", "maker", -1, "next.edgemtl") == 2
    assert "--counter must be from 0" in capsys.readouterr().err
    assert not Path("next.edgemtl").exists()


def test_a_least_version_without_keys(capsys, signed):
    assert main(["-q", "selftest", "signed.edgemtl", "--min-version", "7"]) == 2
    assert "min_version must come with keys" in capsys.readouterr().err


def test_the_native_host_of_a_cpu_s_bundle(capsys, bundle_file):
    assert main(["-q", "selftest", str(bundle_file), "--native-host"]) == 2
    assert "native_host must go with a board's bundle" in capsys.readouterr().err
