"""Every operator in every way it can run: the code that does it, or the reason why none does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from edgemtl import host
from edgemtl import operators as ops
from edgemtl.codegen.cpu.families import FAMILIES
from edgemtl.codegen.fpga.networks import grouped
from edgemtl.codegen.fpga.select import GROUPED, IN_FLOAT, MATCHERS, NEVER, NO_INSTRUCTION
from edgemtl.operators import Operator
from edgemtl.quantize import build, qdq, units
from edgemtl.quantize.limits import NO_FORM

Column = Literal["fp32", "int8", "law", "qdq", "accelerator"]
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)
"""float32 CPU kernel, int8 CPU kernel, integer law, QDQ ONNX, accelerator."""

OPERATORS: Final[tuple[type[Operator], ...]] = tuple(
    kind
    for kind in map(vars(ops).__getitem__, ops.__all__)
    if isinstance(kind, type) and issubclass(kind, Operator) and kind is not Operator
)

ALGORITHMS: Final = (ops.QWinograd, ops.QWinogradWeights)
"""Operators that code generation computes an integer form by."""

INTEGER_FORMS: Final[Mapping[type[Operator], tuple[type[Operator], ...]]] = {
    **{
        kind: (form,)
        for kind in OPERATORS
        if (form := getattr(ops, f"Q{kind.__name__}", None)) and form not in ALGORITHMS
    },
    ops.Activate: (ops.QLookup, ops.QCurve),
    ops.PatchEmbed: (ops.QuantiseImage, ops.QPatchEmbed),
    ops.Pixels: (ops.QPixels, ops.QPixelPatches),
    ops.Resize: (ops.QBilinear, ops.DequantiseImage),
}
"""What quantisation turns a float operator into: the operator of its name with a Q, but for a few."""
FLOAT_FORMS: Final = {form: kind for kind, forms in INTEGER_FORMS.items() for form in forms}

OF_NODES: Final[Mapping[type[Operator], str]] = {
    ops.QClasses: "ArgMax over the channels of an image, of up to 256",
    ops.QMove: "moves of elements: Pad, Gather, Concat with constants and the like",
    ops.QNormalise: "normalisations other than a LayerNorm in front of linear layers",
    ops.QProduct: "MatMul of two computed values",
    ops.QSoftmax: "Softmax",
}
"""Integer forms of generic nodes, by what the nodes are."""
CONVERSIONS: Final = (ops.Convert, ops.Dequantise, ops.Quantise, ops.Widen)
"""Operators that quantisation adds."""
ROUNDING: Final = (ops.Quantise, ops.Dequantise)
"""Those that a float32 program of a quantised model has as well."""

QUANTISERS: Final[Mapping[type[Operator], Callable[..., None]]] = {
    **build.WRITERS,
    ops.LayerNorm: units.write_layer_norm,  # planned ahead of the others, with its readers
}


def integer_forms(operator: type[Operator]) -> tuple[type[Operator], ...]:
    """The integer operators that an operator runs as; it is its own where it computes with integers."""
    is_integer = operator in FLOAT_FORMS or operator in (*CONVERSIONS, *ALGORITHMS, *OF_NODES)
    return (operator,) if is_integer else INTEGER_FORMS.get(operator, ())


_WINOGRAD: Final[Mapping[type[Operator], str]] = {
    kind: "it is a way to convolve in float32; in integers QConv2d runs" for kind in (ops.Winograd, ops.WinogradWeights)
}
_ALGORITHM: Final[Mapping[type[Operator], str]] = dict.fromkeys(
    ALGORITHMS, "it is a way to compute QConv2d, which has the law"
)
_NO_FORM: Final[Mapping[type[Operator], str]] = {kind: NO_FORM for kind in OPERATORS if not integer_forms(kind)}
REASONS: Final[Mapping[Column, Mapping[type[Operator], str]]] = {
    "fp32": {
        **{form: f"it is part of the integer form of {kind.__name__}" for form, kind in FLOAT_FORMS.items()},
        **{form: f"it is the integer form of a generic node, {node}" for form, node in OF_NODES.items()},
        ops.Convert: "it changes between integers, and a float32 program has none to compute with",
        ops.Widen: "it makes integers of the classes that QClasses gives, which a float32 program has not",
        **dict.fromkeys(ALGORITHMS, "it is a way to compute QConv2d in int8"),
    },
    "int8": {**_NO_FORM, **_WINOGRAD},
    "law": {**_NO_FORM, **_WINOGRAD, **_ALGORITHM},
    "qdq": {**_WINOGRAD, **_ALGORITHM},
    "accelerator": {
        kind: NEVER.get(forms[0], NO_INSTRUCTION) if forms else IN_FLOAT
        for kind in OPERATORS
        if GROUPED.isdisjoint(forms := integer_forms(kind))
    },
}
"""Why an operator does not run in a way; `edgemtl check` prints the same."""


@dataclass(frozen=True)
class Entry:
    """One operator in one column: names of the code that does it, or why there is none."""

    code: tuple[str, ...]
    reason: str


def find_entry(operator: type[Operator], column: Column) -> Entry:
    """What the tables of code generation and quantisation have for an operator.

    Raises KeyError for an operator without an implementation and without a reason.
    """
    code = _FINDERS[column](operator)
    return Entry(code, "" if code else REASONS[column][operator])


def _find_float(operator: type[Operator]) -> tuple[str, ...]:
    return () if integer_forms(operator) == (operator,) and operator not in ROUNDING else _kernels(operator)


def _find_int8(operator: type[Operator]) -> tuple[str, ...]:
    forms = integer_forms(operator)
    quantised = forms == (operator,) or operator in QUANTISERS
    return tuple(name for form in forms for name in _kernels(form)) if quantised else ()


def _kernels(operator: type[Operator]) -> tuple[str, ...]:
    return (_name(FAMILIES[operator].build),) if operator in FAMILIES else ()


def _find_law(operator: type[Operator]) -> tuple[str, ...]:
    return tuple(_name(kind.compute) for form in integer_forms(operator) if (kind := host.OPERATORS.get(form.__name__)))


def _find_qdq(operator: type[Operator]) -> tuple[str, ...]:
    return (_name(qdq.steps.WRITERS[operator]),) if operator in qdq.steps.WRITERS else ()


def _find_accelerator(operator: type[Operator]) -> tuple[str, ...]:
    forms = integer_forms(operator)
    return tuple(_name(matcher) for group, matcher in MATCHERS.items() if not grouped(group).isdisjoint(forms))


def _name(code: Callable[..., object]) -> str:
    """Module and name, without the package."""
    return f"{code.__module__}.{code.__qualname__}".removeprefix("edgemtl.")


_FINDERS: Final[Mapping[Column, Callable[[type[Operator]], tuple[str, ...]]]] = {
    "fp32": _find_float,
    "int8": _find_int8,
    "law": _find_law,
    "qdq": _find_qdq,
    "accelerator": _find_accelerator,
}
