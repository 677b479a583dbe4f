"""What is missing where, and what to do about it."""

from __future__ import annotations

import importlib.metadata

import pytest

from edgemtl import doctor
from edgemtl.doctor import Finding, examine
from edgemtl.errors import UnsupportedError
from edgemtl.extras import BASE, EXTRAS, check_extra


def by_name(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch):
    """Makes packages look as if they were not installed."""
    version = importlib.metadata.version

    def hiding(*names: str) -> None:
        def find(name: str) -> str:
            if name in names:
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(importlib.metadata, "version", find)

    return hiding


def test_everything_is_looked_for():
    found = by_name(examine())
    assert {*BASE, "libtvm_runtime.so", "g++", *(name for extra in EXTRAS.values() for name in extra)} <= found.keys()
    assert found["numpy"] == Finding("numpy", True, importlib.metadata.version("numpy"), "run", False)


def test_an_extra_that_is_left_out_is_optional_and_half_of_one_is_not(hide):
    hide("apache-tvm", "onnx")
    found = by_name(examine())
    assert found["onnx"] == Finding("onnx", False, "pip install 'edgemtl[compile]'", "compile", True)
    assert (found["ortools"].optional, found["g++"].optional) == (True, True)
    hide("onnx")
    assert not by_name(examine())["onnx"].optional


def test_a_base_package_is_never_optional(hide):
    hide("typer")
    assert by_name(examine())["typer"] == Finding("typer", False, "pip install edgemtl", "run", False)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (UnsupportedError("libtvm_runtime.so", "it cannot be loaded", "put it on LD_LIBRARY_PATH"), "put it on LD"),
        (ImportError("tvm_ffi"), "pip install edgemtl"),
    ],
)
def test_a_runtime_that_cannot_be_loaded_is_missing(monkeypatch, error, detail):
    def fail() -> None:
        raise error

    monkeypatch.setattr(doctor, "load_runtime", fail)
    found = by_name(examine())["libtvm_runtime.so"]
    assert (found.present, found.optional, found.detail[: len(detail)]) == (False, False, detail)


def test_a_missing_extra_is_named_with_its_packages(monkeypatch):
    monkeypatch.setitem(EXTRAS, "report", {"plotly": "no_plotly", "jinja2": "no_jinja2"})
    message = r"--report: it needs no_plotly, no_jinja2, and these are not installed; pip install 'edgemtl\[report\]'"
    with pytest.raises(UnsupportedError, match=message):
        check_extra("report", "--report")
    check_extra("compile", "edgemtl compile")
