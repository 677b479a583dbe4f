"""The passes of the frontend, in order: from the protobuf of a file to a graph whose tasks are described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx
import onnx_ir as ir

from edgemtl.frontend.consistency import check_consistency
from edgemtl.frontend.contrib import expand_contributed, expand_integer, expand_quantised, expand_standard
from edgemtl.frontend.convert import convert
from edgemtl.frontend.deltas import apply_deltas
from edgemtl.frontend.draft import (
    BODIES,
    COMPILABLE,
    CURRENT_OPSET,
    FIXED_INPUTS,
    IMPORTED,
    INLINED,
    METADATA_READ,
    MIXTURES_RECOGNISED,
    NO_MICROSOFT,
    ONE_TASK_AN_OUTPUT,
    OPERATORS_KNOWN,
    OPSET_KNOWN,
    SIMPLE,
    STATIC,
    TASKS_NAMED,
    TIDY,
    WELL_FORMED,
    Draft,
)
from edgemtl.frontend.fuse import fuse
from edgemtl.frontend.guards import drop_softmax_guards
from edgemtl.frontend.input_shapes import set_input_shapes
from edgemtl.frontend.inputs import check_inputs, describe_inputs, fix_batch
from edgemtl.frontend.layers import describe_layers
from edgemtl.frontend.metadata import read_metadata
from edgemtl.frontend.microsoft import rewrite_microsoft_moe
from edgemtl.frontend.moe_node import OPSET, attach_functions
from edgemtl.frontend.operators import check_operators
from edgemtl.frontend.passes import Notes, Pass
from edgemtl.frontend.prepare import check_known, check_order, expand_by_onnx, import_graph, inline, read_opset
from edgemtl.frontend.recognise import recognise
from edgemtl.frontend.recurrent import unroll_recurrent
from edgemtl.frontend.rounding import rounding_notes
from edgemtl.frontend.shapes import drop_late_windows
from edgemtl.frontend.simplify import finish, simplify
from edgemtl.frontend.spelling import check_form, normalise_spelling
from edgemtl.frontend.static import check_static
from edgemtl.frontend.task_input import specialise_tasks
from edgemtl.frontend.tasks import describe_tasks, keep_tasks, name_outputs

Result = tuple[Draft, Notes]
Run = Callable[[Draft], Result]


def _on_proto(work: Callable[[onnx.ModelProto], None]) -> Run:
    """A check of the protobuf, or a change in place."""

    def run(draft: Draft) -> Result:
        work(draft.proto)
        return draft, ()

    return run


def _on_graph(work: Callable[[ir.Model], None]) -> Run:
    """A check of the graph, or a change in place."""

    def run(draft: Draft) -> Result:
        work(draft.ir)
        return draft, ()

    return run


def _expand_contributed(draft: Draft) -> Result:
    for expand in (expand_standard, expand_contributed, expand_integer, expand_quantised):
        expand(draft.proto, max(draft.opset, OPSET))
    return draft, ()


def _expand_lacking(draft: Draft) -> Result:
    expand_standard(draft.proto, draft.opset)
    return draft, ()


def _check_known(draft: Draft) -> Result:
    check_known(draft.proto, draft.opset)
    return draft, ()


def _convert(draft: Draft) -> Result:
    proto, notes = convert(draft.proto, draft.opset)
    return replace(draft, model=proto), notes


def _specialise_tasks(draft: Draft) -> Result:
    proto, notes = specialise_tasks(draft.proto)
    return replace(draft, model=proto), notes


def _name_tasks(draft: Draft) -> Result:
    """Also drops the tasks that nobody asked for."""
    graph = draft.ir.graph
    names, notes = name_outputs(graph, draft.metadata)
    names = keep_tasks(graph, names, draft.chosen)
    return replace(draft, names=names, outputs=tuple(str(value.name) for value in graph.outputs)), notes


def _unroll_recurrent(draft: Draft) -> Result:
    if unroll_recurrent(draft.ir.graph):
        simplify(draft.ir)
    return draft, ()


def _recognise(draft: Draft) -> Result:
    notes = recognise(draft.ir)
    return replace(draft, recognition=notes), notes


def _finish(draft: Draft) -> Result:
    finish(draft.ir, draft.outputs)
    return draft, ()


def _check_operators(draft: Draft) -> Result:
    check_operators(draft.ir, draft.recognition)
    return draft, ()


def _describe_inputs(draft: Draft) -> Result:
    inputs, notes = describe_inputs(draft.ir.graph, draft.metadata)
    return replace(draft, inputs=inputs), notes


def _describe_tasks(draft: Draft) -> Result:
    tasks, notes = describe_tasks(draft.ir.graph, draft.names, draft.metadata)
    return replace(draft, tasks=tasks), notes


PASSES: tuple[Pass[Draft], ...] = (
    Pass("normalise the spelling", lambda d: (d, normalise_spelling(d.proto))),
    Pass("read the opset", lambda d: (replace(d, opset=read_opset(d.proto)), ()), ensures=(OPSET_KNOWN,), looks=True),
    Pass("expand operators that the opset lacks", _expand_lacking, requires=(OPSET_KNOWN,)),
    Pass("check the order of nodes", _on_proto(lambda proto: check_order(proto.graph)), looks=True),
    Pass(
        "check that operators are known",
        _check_known,
        requires=(OPSET_KNOWN,),
        ensures=(OPERATORS_KNOWN,),
        looks=True,
    ),
    Pass("check by ONNX's rules of form", _on_proto(check_form), ensures=(WELL_FORMED,), looks=True),
    Pass("set the shapes of inputs", lambda d: (d, set_input_shapes(d.proto, d.shapes)), requires=(WELL_FORMED,)),
    Pass(
        "inline functions",
        lambda d: (replace(d, model=inline(d.proto)), ()),
        requires=(WELL_FORMED, OPERATORS_KNOWN),
        ensures=(INLINED,),
    ),
    Pass("convert the opset", _convert, requires=(INLINED,), ensures=(CURRENT_OPSET,)),
    Pass("expand contributed operators", _expand_contributed, requires=(INLINED, CURRENT_OPSET)),
    Pass("expand operators by ONNX's definition", lambda d: (replace(d, model=expand_by_onnx(d.proto)), ())),
    Pass("write a task input out", _specialise_tasks, requires=(INLINED,), ensures=(ONE_TASK_AN_OUTPUT,)),
    Pass("drop windows in padding", lambda d: (replace(d, model=drop_late_windows(d.proto, d.opset)), ())),
    Pass(
        "import the graph",
        lambda d: (replace(d, model=import_graph(d.proto)), ()),
        requires=(WELL_FORMED, ONE_TASK_AN_OUTPUT),
        ensures=(IMPORTED,),
    ),
    Pass(
        "rewrite onnxruntime's mixtures",
        lambda d: (d, rewrite_microsoft_moe(d.ir)),
        requires=(IMPORTED, OPERATORS_KNOWN),
        ensures=(NO_MICROSOFT,),
    ),
    Pass("apply deltas of weights", _on_graph(apply_deltas), requires=(IMPORTED, OPERATORS_KNOWN)),
    Pass("attach bodies for inference", _on_graph(attach_functions), requires=(NO_MICROSOFT,)),
    Pass(
        "read the metadata",
        lambda d: (replace(d, metadata=read_metadata(d.ir)), ()),
        requires=(IMPORTED,),
        ensures=(METADATA_READ,),
        looks=True,
    ),
    Pass("fix the batch", lambda d: (d, fix_batch(d.ir.graph)), requires=(IMPORTED,)),
    Pass("name the tasks", _name_tasks, requires=(METADATA_READ, ONE_TASK_AN_OUTPUT), ensures=(TASKS_NAMED,)),
    Pass("check the inputs", _on_graph(lambda model: check_inputs(model.graph)), ensures=(FIXED_INPUTS,), looks=True),
    Pass("simplify", _on_graph(simplify), requires=(FIXED_INPUTS, NO_MICROSOFT), ensures=(SIMPLE,)),
    Pass("write recurrent layers out", _unroll_recurrent, requires=(SIMPLE,)),
    Pass("recognise mixtures of experts", _recognise, requires=(SIMPLE,), ensures=(MIXTURES_RECOGNISED,)),
    Pass("fuse", _on_graph(fuse), requires=(MIXTURES_RECOGNISED,)),
    Pass("drop guards of softmax", _on_graph(drop_softmax_guards), requires=(SIMPLE, MIXTURES_RECOGNISED)),
    Pass("finish", _finish, requires=(MIXTURES_RECOGNISED, TASKS_NAMED), ensures=(TIDY,)),
    Pass("check operators", _check_operators, requires=(MIXTURES_RECOGNISED, TIDY), ensures=(COMPILABLE,), looks=True),
    Pass(
        "describe mixtures of experts",
        lambda d: (replace(d, layers=describe_layers(d.ir)), ()),
        requires=(MIXTURES_RECOGNISED,),
        looks=True,
    ),
    Pass("check types and shapes", _on_graph(check_static), requires=(COMPILABLE,), ensures=(STATIC,), looks=True),
    Pass("check consistency", _on_graph(check_consistency), requires=(STATIC,), looks=True),
    Pass("attach bodies", _on_graph(attach_functions), requires=(MIXTURES_RECOGNISED,), ensures=(BODIES,)),
    Pass("describe the inputs", _describe_inputs, requires=(FIXED_INPUTS, STATIC, METADATA_READ), looks=True),
    Pass("look for roundings", lambda d: (d, rounding_notes(d.ir.graph)), requires=(TIDY,), looks=True),
    Pass("describe the tasks", _describe_tasks, requires=(TASKS_NAMED, STATIC), looks=True),
)
"""Where two passes do not need each other, their order is that of the errors a user should meet first."""
