"""The build: setuptools, and TVM's runtime library of the pinned apache-tvm in every wheel.

A device then needs neither apache-tvm (300 MB installed) nor a compiler: the library it takes from there is 3.4 MB. An
editable install carries no library, it uses that of the apache-tvm that its extra `compile` installs.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  # the hooks that are not changed below
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = "edgemtl/runtime/lib"
FILES = ("lib/libtvm_runtime.so", "LICENSE", "NOTICE")
"""What is taken of apache-tvm's package; its licence asks for the last two."""


def get_requires_for_build_wheel(config_settings: Mapping[str, object] | None = None) -> list[str]:
    """What a wheel is built with: apache-tvm of the version that compiles bundles, besides setuptools."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), tvm_pin()]


def tvm_pin() -> str:
    """The requirement of apache-tvm, as the extra `compile` states it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return next(pin for pin in project["optional-dependencies"]["compile"] if pin.startswith("apache-tvm=="))


class BuildWithRuntime(build_py):
    """Also puts TVM's runtime library beside the runtime, except in an editable install."""

    def run(self) -> None:
        """Copy the package, then the library."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib, RUNTIME)
        folder.mkdir(parents=True, exist_ok=True)
        tvm = importlib.metadata.distribution("apache-tvm")
        for name in FILES:
            shutil.copyfile(str(tvm.locate_file(f"tvm/{name}")), folder / Path(name).name)


class PlatformWheel(bdist_wheel):
    """A wheel for the systems that apache-tvm's own wheel is for, and for every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Python, ABI and platform, the last as apache-tvm's own wheel has it; an editable install has no library."""
        try:
            wheel = importlib.metadata.distribution("apache-tvm").read_text("WHEEL") or ""
        except importlib.metadata.PackageNotFoundError:
            return super().get_tag()
        tags = [line.removeprefix("Tag: ").strip() for line in wheel.splitlines() if line.startswith("Tag: ")]
        return ("py3", "none", ".".join(sorted(tag.split("-")[2] for tag in tags)))
