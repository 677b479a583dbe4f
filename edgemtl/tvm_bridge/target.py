"""A target in TVM's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgemtl.processor import CpuTarget

if TYPE_CHECKING:
    import tvm


def tvm_target(target: CpuTarget) -> tvm.target.Target:
    """What TVM calls a target."""
    import tvm

    words = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.mcpu, "mattr": list(target.mattr)}
    return tvm.target.Target(words)
