"""What of the vision transformer families the accelerator runs, and that it gives the bits of the law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.shares import export_family, integer_steps, share_of
from benchmarks.vision_transformers import FAMILIES
from edgemtl.codegen.fpga.compile import compile_segments
from tests.codegen.fpga.rig import check, engines

LEAST = {"Swin": 0.9}
"""Where the attention of windows stays on the host CPU, whose products have many MACs beside so few channels."""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_accelerator_runs_nearly_all_of_a_family(family: str, tmp_path: Path) -> None:
    """Convolutions aside, 95% of the MACs; on a small board the same steps give the same bits."""
    model, images = export_family(family, tmp_path)
    steps, frame = integer_steps(model, images, "zcu104"), {"image": np.load(images / "0.npy")}
    for board in ("zcu104", "ultra96v2"):
        program = compile_segments(steps, engines()[board])
        assert share_of(program).rows >= LEAST.get(family, 0.95)
        check(program, steps, frame)
