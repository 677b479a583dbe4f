"""What a misspelt name was meant to be."""

from __future__ import annotations

import pytest

from edgemtl.suggest import listed, nearest, one_of

TASKS = ("semseg", "depth", "normals")


@pytest.mark.parametrize(("word", "name"), [("dpth", "depth"), ("DEPTH", "depth"), ("normal", "normals"), ("x", None)])
def test_the_nearest_name(word: str, name: str | None) -> None:
    assert nearest(word, TASKS) == name


def test_how_alike_names_must_be() -> None:
    assert nearest("model.onx", ["modle.onnx"], likeness=0.95) is None
    assert nearest("model.onx", ["model.onnx"], likeness=0.9) == "model.onnx"


def test_messages() -> None:
    assert one_of("--task", TASKS, "dept") == (
        "--task must be one of semseg, depth, normals, not 'dept'; did you mean 'depth'?"
    )
    assert one_of("--task", TASKS, "") == "--task must be one of semseg, depth, normals, not ''"
    assert listed(tuple("abcdefghijklmno")) == "a, b, c, d, e, f, g, h, i, j, k, l and 3 more"
