"""The processor that figures are measured on, said with them."""

from __future__ import annotations

import os

from edgemtl.processor import CpuTarget, resolve, this_processor
from edgemtl.runtime.machine import check_this_machine


def processor_line() -> str:
    """The processor's name and the target that is compiled for it, as the line above a table."""
    processor = this_processor()
    return f"{processor.model or processor.architecture}, target {resolve('cpu').name}"


def target_to_measure(name: str, threads: int) -> CpuTarget:
    """The target ``name``, and a line that says so. Raises UnsupportedError for one this machine cannot run."""
    target = resolve(name, threads)
    check_this_machine(target)
    processor = this_processor()
    print(f"{processor.model or processor.architecture}, target {target.name}, {threads} threads")
    return target


ISA_OF_WIDTH = {256: "AVX2", 512: "AVX512_CORE"}
"""ONEDNN_MAX_CPU_ISA by vector width, where the target has no products of bytes."""


def limit_peers(target: CpuTarget) -> frozenset[str]:
    """Limit the peers of this process and its children to the target's instructions; those that cannot be limited.

    OpenVINO is limited where it computes by oneDNN: its float32 products of matrices, which are MLAS's, are not.
    ONNX Runtime has no limit, so it does not count where the target is not this machine's best.
    """
    if not target.byte_instructions and target.vector_bits in ISA_OF_WIDTH:
        os.environ["ONEDNN_MAX_CPU_ISA"] = ISA_OF_WIDTH[target.vector_bits]
    return frozenset() if target.name == resolve("cpu").name else frozenset({"onnxruntime"})
