"""The node `edgemtl::MoE`: its attributes and the standard-operator body any ONNX runtime can run.

    y = MoE(x [T,D], logits [T,E], w1 [E',D,H], b1 [E',H], w2 [E',H,D], b2 [E',D], w3 [E',D,H], b3 [E',H])

y is [T,D]; w3 and b3 are there where the experts are `gated`.

p = softmax of the logits over all columns, or over those of the window; the k largest p among the candidate
experts are selected, ties to the lowest index; y = sum_j p_j * (act(x w1[e_j] + b1[e_j]) w2[e_j] + b2[e_j]).
Where `normalize` is set the selected p are divided by their sum; then those below `threshold` become 0.
A gated expert multiplies act(x w1 + b1) by x w3 + b3. With `routing` "weights" the logits are the weights themselves:
y = sum_e logits[:, e] * expert_e(x), and the model promises that at most k of a token's weights are not 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir

from edgemtl.errors import ModelError
from edgemtl.graph import operand

DOMAIN = "edgemtl"
OP_TYPE = "MoE"
VERSION = 1
OPSET = 20

ROUTINGS = ("softmax", "weights")
ACTIVATIONS = {
    "gelu": "act = Gelu (hidden)",
    "gelu_tanh": 'act = Gelu <approximate = "tanh"> (hidden)',
    "identity": "act = Identity (hidden)",
    "relu": "act = Relu (hidden)",
    "silu": "sigma = Sigmoid (hidden)\n act = Mul (hidden, sigma)",
}


@dataclass(frozen=True)
class MoEAttributes:
    """What selects and weighs the experts of one MoE node.

    k: experts per token.  activation: one of `ACTIVATIONS`.  normalize: the selected scores are divided by
    their sum.  threshold: selected scores below it become 0; 0 is off.  window: first column and number of
    columns of the logits the softmax and the selection see.  experts: ascending columns that have weights,
    None where all have.  routing: one of `ROUTINGS`.  gated: experts have a third matrix.  Raises `ModelError`
    for a value outside its range.
    """

    k: int
    activation: str = "gelu"
    normalize: bool = False
    threshold: float = 0.0
    window: tuple[int, int] | None = None
    experts: tuple[int, ...] | None = None
    routing: str = "softmax"
    gated: bool = False

    def __post_init__(self) -> None:
        _require(self.activation in ACTIVATIONS, "activation", f"one of {', '.join(ACTIVATIONS)}", self.activation)
        _require(0.0 <= self.threshold < 1.0, "threshold", "at least 0 and below 1", self.threshold)
        if self.window is not None:
            good = len(self.window) == 2 and self.window[0] >= 0 and self.window[1] >= 1
            _require(good, "window", "a first column of at least 0 and a positive number of columns", self.window)
        if self.experts is not None:
            _require(self._ascending_in_window(), "experts", "ascending columns inside the window", self.experts)
        _require(self.routing in ROUTINGS, "routing", f"one of {', '.join(ROUTINGS)}", self.routing)
        if self.routing == "weights":
            adjusted = [n for n in ("normalize", "threshold", "window") if getattr(self, n)]
            _require(not adjusted, "routing", f"softmax where {', '.join(adjusted)} is given", self.routing)
        choices = self._choices()
        rule = "at least 1" if choices is None else f"from 1 to the {choices} experts that can be selected"
        _require(1 <= self.k <= (self.k if choices is None else choices), "k", rule, self.k)

    def _ascending_in_window(self) -> bool:
        experts = self.experts or ()
        low, high = (0, None) if self.window is None else (self.window[0], sum(self.window))
        inside = all(e >= low and (high is None or e < high) for e in experts)
        return inside and len(experts) > 0 and list(experts) == sorted(set(experts))

    def _choices(self) -> int | None:
        if self.experts is not None:
            return len(self.experts)
        return None if self.window is None else self.window[1]

    @property
    def overload(self) -> str:
        """A name that two attribute sets share only if they are equal."""
        parts = [f"k{self.k}", self.activation]
        parts += ["normalized"] if self.normalize else []
        parts += ["above" + str(np.float32(self.threshold))] if self.threshold else []
        parts += ["window" + "to".join(map(str, self.window))] if self.window else []
        parts += ["experts" + "and".join(map(str, self.experts))] if self.experts else []
        parts += ["weights"] if self.routing == "weights" else []
        parts += ["gated"] if self.gated else []
        return "_".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The ONNX attributes of the node."""
        plain: dict[str, Any] = {
            "k": self.k,
            "activation": self.activation,
            "normalize": int(self.normalize),
            "threshold": float(np.float32(self.threshold)),
        }
        if self.window is not None:
            plain["window"] = list(self.window)
        if self.experts is not None:
            plain["experts"] = list(self.experts)
        if self.routing != "softmax":
            plain["routing"] = self.routing
        if self.gated:
            plain["gated"] = 1
        return plain

    @classmethod
    def from_node(cls, node: ir.Node) -> MoEAttributes:
        """The attributes of an `edgemtl::MoE` node; `ModelError` names the node where one is wrong."""
        try:
            return cls(**_read_attributes(node))
        except (TypeError, ModelError) as error:
            raise ModelError(f"node {node.name}: {error}") from error


def _require(ok: bool, name: str, rule: str, value: object) -> None:
    if not ok:
        raise ModelError(f"MoE attribute {name} must be {rule}, not {value!r}")


def _read_attributes(node: ir.Node) -> dict[str, Any]:
    if "k" not in node.attributes:
        raise ModelError("MoE attribute k must be given")
    known = MoEAttributes.__dataclass_fields__
    unknown = [name for name in node.attributes if name not in known]
    if unknown:
        raise ModelError(f"MoE attributes must be among {', '.join(known)}, not {', '.join(unknown)}")
    values = {name: _plain(attribute.value) for name, attribute in node.attributes.items()}
    for name in values.keys() & {"normalize", "gated"}:
        values[name] = bool(values[name])
    return values


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def is_moe(node: ir.Node) -> bool:
    """Whether the node is an `edgemtl::MoE`."""
    return node.domain == DOMAIN and node.op_type == OP_TYPE


def moe_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """The MoE nodes of a model in the order they run."""
    return (node for node in model.graph if is_moe(node))


def logits_of(node: ir.Node) -> ir.Value:
    """The value by which a MoE node selects and weighs its experts."""
    logits = operand(node, "logits")
    assert logits is not None
    return logits


def function_proto(attributes: MoEAttributes) -> onnx.FunctionProto:
    """The body of MoE for one attribute set: dense, every expert over every token, no data-dependent shape."""
    names = ", ".join(attributes.to_dict())
    header = f'<domain: "{DOMAIN}", opset_import: ["": {OPSET}]>'
    operands = "x, logits, w1, b1, w2, b2" + ", w3, b3" * attributes.gated
    signature = f"{OP_TYPE} <{names}> ({operands}) => (y)"
    weighed = [*_select(attributes), *_weigh(attributes)] if attributes.routing == "softmax" else _given(attributes)
    lines = "\n ".join([*weighed, *_mix(attributes)])
    function = onnx.parser.parse_function(f"{header}\n{signature} {{\n {lines}\n}}")
    function.overload = attributes.overload
    return function


def _select(a: MoEAttributes) -> list[str]:
    """score, place [T, k]: the k best candidates of each token and where their weights are."""
    lines, visible = [], "logits"
    first, size = a.window or (0, 0)
    if a.window is not None:
        lines += [
            f"first = Constant <value_ints = [{first}]> ()",
            f"last = Constant <value_ints = [{first + size}]> ()",
            "column = Constant <value_ints = [1]> ()",
            "visible = Slice (logits, first, last, column)",
        ]
        visible = "visible"
    lines += [f"probability = Softmax <axis = -1> ({visible})", f"k_ = Constant <value_ints = [{a.k}]> ()"]
    if a.experts is not None:
        columns = ", ".join(str(e - first) for e in a.experts)
        lines += [
            f"ids = Constant <value_ints = [{columns}]> ()",
            "open = Gather <axis = 1> (probability, ids)",
        ]
        return [*lines, "score, place = TopK <axis = -1> (open, k_)"]
    if a.window is not None:
        return [*lines, "score, near = TopK <axis = -1> (probability, k_)", "place = Add (near, first)"]
    return [*lines, "score, place = TopK <axis = -1> (probability, k_)"]


def _weigh(a: MoEAttributes) -> list[str]:
    """gate [E', T, 1]: each expert's weight for each token."""
    lines, score = [], "score"
    if a.normalize:
        lines += ["last_axis = Constant <value_ints = [-1]> ()", "total = ReduceSum (score, last_axis)"]
        lines += ["share = Div (score, total)"]
        score = "share"
    if a.threshold:
        lines += [
            f"limit = Constant <value_float = {float(np.float32(a.threshold)):.9e}> ()",
            f"low = Less ({score}, limit)",
            "zero = Constant <value_float = 0.0> ()",
            f"kept = Where (low, zero, {score})",
        ]
        score = "kept"
    return [
        *lines,
        "tokens = Shape <start = 0, end = 1> (x)",
        "count = Shape <start = 0, end = 1> (w1)",
        "size = Concat <axis = 0> (tokens, count)",
        "none = ConstantOfShape (size)",
        f"gates = ScatterElements <axis = 1> (none, place, {score})",
        *_by_expert("gates"),
    ]


def _given(a: MoEAttributes) -> list[str]:
    """gate [E', T, 1] where the logits are the weights."""
    if a.experts is None:
        return _by_expert("logits")
    columns = ", ".join(map(str, a.experts))
    return [
        f"ids = Constant <value_ints = [{columns}]> ()",
        "gates = Gather <axis = 1> (logits, ids)",
        *_by_expert("gates"),
    ]


def _by_expert(gates: str) -> list[str]:
    return [
        f"by_expert = Transpose <perm = [1, 0]> ({gates})",
        "two = Constant <value_ints = [2]> ()",
        "gate = Unsqueeze (by_expert, two)",
    ]


def _mix(a: MoEAttributes) -> list[str]:
    """y [T, D]: the experts' outputs, weighed and summed."""
    third = [
        "bias3 = Unsqueeze (b3, one)",
        "product3 = MatMul (x, w3)",
        "linear = Add (product3, bias3)",
        "inner = Mul (act, linear)",
    ]
    return [
        "one = Constant <value_ints = [1]> ()",
        "bias1 = Unsqueeze (b1, one)",
        "product1 = MatMul (x, w1)",
        "hidden = Add (product1, bias1)",
        ACTIVATIONS[a.activation],
        *(third if a.gated else ()),
        "bias2 = Unsqueeze (b2, one)",
        f"product2 = MatMul ({'inner' if a.gated else 'act'}, w2)",
        "output = Add (product2, bias2)",
        "weighed = Mul (output, gate)",
        "expert_axis = Constant <value_ints = [0]> ()",
        "y = ReduceSum <keepdims = 0> (weighed, expert_axis)",
    ]


def attach_functions(model: ir.Model) -> None:
    """Give every MoE node of the model the function body of its attributes, and drop the bodies none needs.

    Afterwards `onnx_ir.to_proto(model)` runs in any ONNX runtime. In place; call it again after changing nodes.
    """
    for key in [key for key in model.functions if key[:2] == (DOMAIN, OP_TYPE)]:
        del model.functions[key]
    for node in moe_nodes(model):
        attributes = MoEAttributes.from_node(node)
        node.overload = attributes.overload
        key = (DOMAIN, OP_TYPE, node.overload)
        if key not in model.functions:
            model.functions[key] = cast(ir.Function, ir.from_proto(function_proto(attributes)))
        model.opset_imports[DOMAIN] = VERSION
