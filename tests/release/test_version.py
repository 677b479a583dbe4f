"""The version: one for the program, its bundles and its models, and never older than the last release."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.version import Version

import edgemtl

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_installed_one():
    assert edgemtl.__version__ == importlib.metadata.version("edgemtl")


def test_a_tree_that_was_never_installed_says_so(monkeypatch: pytest.MonkeyPatch):
    def nowhere(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", nowhere)
    assert edgemtl.__version__ == "0+unknown"


def test_the_package_has_no_other_lazy_names():
    with pytest.raises(AttributeError, match="module 'edgemtl' has no attribute 'version'"):
        edgemtl.version  # noqa: B018


def test_the_fallback_is_newer_than_the_last_release():
    fallback = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools_scm"]["fallback_version"]
    released = re.findall(r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[-1] == "0.1.0"
    assert Version(fallback) > max(map(Version, released))
