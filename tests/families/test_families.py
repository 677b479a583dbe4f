"""The families of multi-task networks, compiled whole and compared with torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.families.family import Family
from examples.families.measure import compile_family, exactness, share
from examples.families.zoo import FAMILIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"
QUICK = ("m3vit_windows", "fuller")
"""One with experts and one with heads alone; the others take minutes together."""


def _marked(family: Family) -> object:
    return pytest.param(family, id=family.name, marks=() if family.name in QUICK else pytest.mark.slow)


@pytest.mark.filterwarnings("ignore")  # Of torch's exporter, about itself.
@pytest.mark.parametrize("family", [_marked(family) for family in FAMILIES])
def test_outputs_are_those_of_torch(family: Family, tmp_path: Path) -> None:
    compiled = compile_family(family, tmp_path)
    exact = exactness(compiled)
    assert exact.difference <= 1e-4
    assert exact.sqnr_db >= 20
    assert 0 < share(compiled).weights <= 1


def test_every_family_has_a_row() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    for family in FAMILIES:
        assert any(f"| {family.system} | {family.routing} |" in row for row in rows), family.name


def test_names_are_unique() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
