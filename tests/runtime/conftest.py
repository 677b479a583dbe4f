"""The small program's bundle, written once, and a session of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgemtl.runtime import Session
from tests.runtime import programs


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.write(tmp_path_factory.mktemp("runtime") / "small.edgemtl")


@pytest.fixture
def session(bundle: Path) -> Iterator[Session]:
    with Session.open(bundle, check_arena=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_session(bundle: Path) -> Iterator[Session]:
    with Session.open(bundle) as opened:
        yield opened
