"""A model on its way through the frontend, and what its passes ensure of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir

from edgemtl.frontend.input_shapes import Shapes
from edgemtl.frontend.inputs import DTYPES
from edgemtl.frontend.limits import all_nodes
from edgemtl.frontend.metadata import Metadata
from edgemtl.frontend.microsoft import MICROSOFT
from edgemtl.frontend.model import InputSpec, MoELayer, Task
from edgemtl.frontend.moe_node import DOMAIN, OP_TYPE, OPSET, moe_nodes
from edgemtl.frontend.passes import Notes, Property
from edgemtl.frontend.wellformed import find_flaw
from edgemtl.graph import is_static


@dataclass(frozen=True)
class Draft:
    """What the passes hand on.

    model: ONNX's protobuf, and from the pass that imports it on a graph.  chosen: the tasks asked for, None for all.
    shapes: what a user gives for open axes, by input.  opset: of the file's standard operators.  names: of the tasks,
    one for each output.  outputs: their names in the file.  recognition: notes on what was taken as a mixture of
    experts and what was not.  Fields that no pass has filled in yet are empty.
    """

    model: onnx.ModelProto | ir.Model
    chosen: tuple[str, ...] | None = None
    shapes: Shapes = field(default_factory=dict)
    opset: int = 0
    metadata: Metadata | None = None
    names: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    recognition: Notes = ()
    layers: tuple[MoELayer, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    tasks: tuple[Task, ...] = ()

    @property
    def proto(self) -> onnx.ModelProto:
        """The model before it is imported."""
        assert isinstance(self.model, onnx.ModelProto)
        return self.model

    @property
    def ir(self) -> ir.Model:
        """The model after it is imported."""
        assert isinstance(self.model, ir.Model)
        return self.model


def _first(find: Callable[[ir.Model], Iterable[str]]) -> Callable[[Draft], str | None]:
    return lambda draft: next(iter(find(draft.ir)), None)


def _find_old_opset(draft: Draft) -> str | None:
    if isinstance(draft.model, ir.Model):
        version = draft.model.opset_imports.get("", OPSET)
    else:
        version = next((entry.version for entry in draft.model.opset_import if entry.domain == ""), OPSET)
    return f"its opset is {version}" if version < OPSET else None


def _find_functions(draft: Draft) -> str | None:
    model = draft.model
    keys = list(model.functions) if isinstance(model, ir.Model) else [(f.domain, f.name) for f in model.functions]
    return next((f"{key[0]}::{key[1]} is one" for key in keys if key[:2] != (DOMAIN, OP_TYPE)), None)


def _find_microsoft(model: ir.Model) -> Iterator[str]:
    return (f"node {node.name} is {node.op_type}" for node in all_nodes(model.graph) if node.domain == MICROSOFT)


def _find_odd_inputs(model: ir.Model) -> Iterator[str]:
    odd = (value for value in model.graph.inputs if value.dtype not in DTYPES or not is_static(value))
    return (f"input {value.name} is {value.dtype} of shape {value.shape}" for value in odd)


def _find_nameless(draft: Draft) -> str | None:
    names, outputs = draft.names, draft.ir.graph.outputs
    return None if len(names) == len(outputs) else f"there are {len(names)} names for {len(outputs)} outputs"


def _find_dead(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            yield f"nothing reads node {node.name}"


def _find_open(model: ir.Model) -> Iterator[str]:
    for value in (value for node in model.graph for value in node.outputs):
        if value.dtype is None or not is_static(value):
            yield f"{value.name} is {value.dtype} of shape {value.shape}"


def _find_bodiless(model: ir.Model) -> Iterator[str]:
    for node in moe_nodes(model):
        if (DOMAIN, OP_TYPE, node.overload) not in model.functions:
            yield f"node {node.name} has none"


WELL_FORMED = Property[Draft]("values have one name and one producer, which comes first", lambda d: find_flaw(d.model))
OPSET_KNOWN = Property[Draft]("the file's opset is known", lambda draft: None if draft.opset else "it is not")
OPERATORS_KNOWN = Property[Draft]("every operator is defined")
INLINED = Property[Draft]("there are no functions but those of mixtures of experts", _find_functions)
CURRENT_OPSET = Property[Draft](f"the opset is {OPSET} or later", _find_old_opset)
ONE_TASK_AN_OUTPUT = Property[Draft]("no input says which task to compute")
IMPORTED = Property[Draft]("the model is a graph", lambda d: None if isinstance(d.model, ir.Model) else "it is not")
NO_MICROSOFT = Property[Draft](f"no node is of domain {MICROSOFT}", _first(_find_microsoft))
METADATA_READ = Property[Draft]("the metadata has been read")
TASKS_NAMED = Property[Draft]("every output has the name of its task", _find_nameless)
FIXED_INPUTS = Property[Draft]("inputs have a type that is compiled and a fixed size", _first(_find_odd_inputs))
SIMPLE = Property[Draft]("shapes are inferred and constants folded")
MIXTURES_RECOGNISED = Property[Draft]("mixtures of experts in ordinary operators have been looked for")
TIDY = Property[Draft]("every node is needed", _first(_find_dead))
COMPILABLE = Property[Draft]("no operator is refused")
STATIC = Property[Draft]("every value has a type and a fixed shape", _first(_find_open))
BODIES = Property[Draft]("every mixture of experts has a function body", _first(_find_bodiless))
