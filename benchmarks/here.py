"""The processor that figures are measured on, said with them."""

from __future__ import annotations

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
