"""Every operator once in memory that ends at forbidden pages."""

from __future__ import annotations

import numpy as np
import pytest

from edgemtl import frontend, partition
from edgemtl.codegen.cpu import CpuProgram, compile_cpu
from edgemtl.errors import EdgemtlError
from edgemtl.processor import resolve
from edgemtl.tvm_bridge.generic.operators import OPERATORS
from tests.conformance.form import Form, model_of
from tests.conformance.forms import all_forms
from tests.conformance.guard import guarded, run_guarded
from tests.conformance.run import distance, expected, images


def forms_of(op: str) -> list[Form]:
    """Two forms of an operator: the last, which is of its newest version, and one from the middle."""
    forms = [form for form in all_forms() if form.op == op]
    return [forms[-1], forms[len(forms) // 2]]


def compiled(form: Form, folder) -> CpuProgram | None:
    path = folder / "form.onnx"
    path.write_bytes(model_of(form).SerializeToString())
    try:
        model = frontend.read_model(path)
        tasks = partition.partition(model, ("y",), "exact", None)
        return compile_cpu(tasks, resolve("cpu", 1), memory_budget=None)
    except EdgemtlError:
        return None


@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_touches_its_own_memory_alone(op: str, tmp_path) -> None:
    for form in forms_of(op):
        program, given = compiled(form, tmp_path), images(form)
        wanted = expected(model_of(form), given)
        if program is None or wanted is None:
            continue
        for image, answer in zip(given, wanted, strict=True):
            output = run_guarded(program, "y", image)
            assert isinstance(output, np.ndarray), f"{form.name} died of signal {output}"
            assert distance(output, answer) <= form.tolerance, form.name


def test_a_write_behind_the_guard_dies() -> None:
    assert run_guarded_write(0) == 0
    assert run_guarded_write(64) < 0


def run_guarded_write(beyond: int) -> int:
    """The exit code of a process that writes ``beyond`` bytes behind a guarded array."""
    import multiprocessing

    def write() -> None:
        view = guarded(128)
        (np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * 256).from_address(view.ctypes.data)))[127 + beyond] = 1

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join()
    return process.exitcode or 0
