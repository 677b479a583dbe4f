"""Forms against an oracle: onnxruntime, or onnx's own reference where onnxruntime does not have the form."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from edgemtl.driver import compile_model
from edgemtl.errors import EdgemtlError
from edgemtl.onnx_runtime import open_session
from edgemtl.options import CompileOptions
from edgemtl.runtime import Session
from tests.conformance.form import IMAGE, Form, model_of

SEEDS = (1, 2)
# onnxruntime divides zero by zero where the standard adds 1e-9 to a deviation of zero.
BY_REFERENCE = ("MeanVarianceNormalization",)


@dataclass(frozen=True)
class Outcome:
    """What became of a form: "equal", "wrong", "refused" or "none" (no oracle); error relative to the largest value."""

    form: Form
    verdict: str
    error: float = 0.0
    reason: str = ""


def images(form: Form) -> list[np.ndarray]:
    """A balanced image, and a skewed one: one value everywhere but in a corner, and large magnitudes."""
    shape = form.image_shape
    balanced = np.random.default_rng(SEEDS[0]).standard_normal(shape, np.float32)
    skewed = np.full(shape, 0.75, np.float32)
    corner = max(1, skewed.size // 8)
    skewed.flat[:corner] = 8 * np.random.default_rng(SEEDS[1]).standard_normal(corner, np.float32)
    return [balanced, skewed]


def expected(model: onnx.ModelProto, given: list[np.ndarray]) -> list[np.ndarray] | None:
    """The oracle's outputs, None where there is none."""
    by_reference = any(node.op_type in BY_REFERENCE for node in model.graph.node)
    outputs = None if by_reference else by_onnxruntime(model, given)
    if outputs is not None:
        return outputs
    try:
        reference = ReferenceEvaluator(model)
        return [np.asarray(reference.run(None, {IMAGE: image})[0], np.float32) for image in given]
    except Exception:
        return None


def by_onnxruntime(model: onnx.ModelProto, given: list[np.ndarray]) -> list[np.ndarray] | None:
    """onnxruntime's outputs without graph optimisation, None where it lacks the form."""
    try:
        session = open_session(model.SerializeToString())
        return [session.run(None, {IMAGE: image})[0] for image in given]
    # onnxruntime's errors share no base class.
    except Exception:
        return None


def distance(actual: np.ndarray, wanted: np.ndarray) -> float:
    """Largest error relative to the largest finite value; NaN equals NaN and an infinity itself."""
    if actual.size != wanted.size or [n for n in actual.shape if n > 1] != [n for n in wanted.shape if n > 1]:
        return np.inf
    a, b = actual.ravel().astype(np.float64), wanted.ravel().astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    if not np.isfinite(a[~same]).all() or not np.isfinite(b[~same]).all():
        return np.inf
    largest = np.abs(b[np.isfinite(b)]).max(initial=0)
    return float(np.abs(a[~same] - b[~same]).max() / max(largest, 1e-30))


def run_form(form: Form) -> Outcome:
    """Compile the form, run it on both images and compare."""
    model, given = model_of(form), images(form)
    wanted = expected(model, given)
    if wanted is None:
        return Outcome(form, "none")
    with tempfile.TemporaryDirectory() as folder:
        path, bundle = Path(folder) / "form.onnx", Path(folder) / "form.edgemtl"
        onnx.save(model, path)
        try:
            compile_model(path, CompileOptions(selftest=False), bundle)
        except EdgemtlError as error:
            return Outcome(form, "refused", reason=str(error))
        with Session.open(str(bundle), threads=1) as session:
            error = max(distance(session.run("y", x), y) for x, y in zip(given, wanted, strict=True))
    return Outcome(form, "equal" if error <= form.tolerance else "wrong", error)
