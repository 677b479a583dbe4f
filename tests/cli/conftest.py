"""A small exported model and its bundle, made once."""

import os
from pathlib import Path

import pytest

from edgemtl.cli.app import main
from tests.support.models import build_and_export, small_config


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_and_export(small_config(), 0, tmp_path_factory.mktemp("model"))[1]


@pytest.fixture(scope="session")
def bundle_file(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("bundle") / "app.edgemtl"
    assert main(["-q", "compile", str(model_file), "-o", str(bundle)]) == 0
    return bundle


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert os.getcwd() == str(tmp_path)
    return tmp_path
