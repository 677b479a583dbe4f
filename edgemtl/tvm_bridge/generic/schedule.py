"""Expressions of TVM as kernels: scheduled for a CPU, their intermediates made workspaces, taking pointers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.ir import PrimType
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from edgemtl.tvm_bridge.kernel import Kernel, Operand, Role
from edgemtl.tvm_bridge.kernels.emit import CPU_DEVICE, i32

# Below this many elements a thread costs more than it saves.
PARALLEL_ELEMENTS = 4096
MOST_SHARES = 16
# Elements of the widest vector.
VECTOR = 16
LOWER = tvm.transform.Sequential(
    [
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.LowerMatchBuffer(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.StmtSimplify(),
    ]
)


def to_kernel(name: str, function: tirx.PrimFunc, roles: Sequence[Role]) -> Kernel:
    """A kernel of a function over buffers whose parameters have these roles; its own buffers become workspaces.

    ``name`` and the code make its symbol. Raises ValueError for a shape that is not known.
    """
    for buffer in function.params:
        if not all(isinstance(extent, tirx.IntImm) for extent in buffer.shape):
            raise ValueError(f"the shape of {buffer.name} must be known, not {buffer.shape}")
    lowered = LOWER(schedule(function).mod)["main"]
    operands = [_operand(i, p, role) for i, (p, role) in enumerate(zip(lowered.params, roles, strict=True))]
    statements = list(lowered.body.seq) if isinstance(lowered.body, tirx.SeqStmt) else [lowered.body]
    scratch = [s.buffer for s in statements if isinstance(s, tirx.AllocBuffer)]
    operands += [_operand(i, buffer, "workspace") for i, buffer in enumerate(scratch)]
    code = [s for s in statements if not isinstance(s, tirx.AllocBuffer)]
    body = _over_pointers([*lowered.params, *scratch], operands, code)
    digest = hashlib.sha256(body.script().encode()).hexdigest()[:8]
    return Kernel(f"generic_{name}_{digest}", tuple(operands), body)


def _operand(index: int, buffer: tirx.Buffer, role: Role) -> Operand:
    return Operand(f"{role}{index}", tuple(int(extent) for extent in buffer.shape), str(buffer.dtype), role)


def _over_pointers(
    buffers: Sequence[tirx.Buffer], operands: Sequence[Operand], code: Iterable[tirx.Stmt]
) -> tirx.PrimFunc:
    """A private function that takes a pointer per buffer; the code uses the buffers as it did."""
    with IRBuilder() as builder:
        with T.prim_func(private=True):
            T.func_name("kernel")
            T.func_attr({"calling_conv": -1, "tirx.noalias": True})
            T.func_ret(PrimType("int32"))
            handles = [T.arg(f"p{i}", T.handle(o.dtype)) for i, o in enumerate(operands)]
            for buffer, handle in zip(buffers, handles, strict=True):
                T.add_to_parent(tirx.DeclBuffer(buffer, data=handle))
            with T.attr(i32(0), "device_id", i32(0)), T.attr(i32(0), "device_type", i32(CPU_DEVICE)):
                for statement in code:
                    T.add_to_parent(statement)
            T.Return(i32(0))
    return builder.get()


def schedule(function: tirx.PrimFunc) -> s_tir.Schedule:
    """Outer loops in parallel, the last axis innermost so that LLVM makes vectors of it, plain chains in one loop."""
    # A schedule wants a name for the function.
    plan = s_tir.Schedule(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}))
    for block in _blocks(plan):
        if _joins_its_reader(plan, block):
            plan.compute_inline(block)
    for block in _blocks(plan):
        try:
            _arrange(plan, block)
        except s_tir.ScheduleError:
            # A loop nest with conditions or dependencies of its own runs as TVM wrote it.
            continue
    return plan


def _blocks(plan: s_tir.Schedule) -> list[s_tir.schedule.SBlockRV]:
    return list(plan.get_child_blocks(plan.get_sblock("root")))


def _is_pointwise(plan: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> bool:
    return all(v.iter_type == tirx.IterVar.DataPar for v in plan.get(block).iter_vars)


def _joins_its_reader(plan: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> bool:
    """Whether one pointwise block alone reads this pointwise block."""
    readers = plan.get_consumers(block)
    return len(readers) == 1 and _is_pointwise(plan, block) and _is_pointwise(plan, readers[0])


def _arrange(plan: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> None:
    kinds = [v.iter_type for v in plan.get(block).iter_vars]
    loops = list(plan.get_loops(block))
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.DataPar]
    reduced = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.CommReduce]
    if len(spatial) + len(reduced) != len(kinds) or not spatial:
        return
    work = math.prod(int(plan.get(loop).extent) for loop in loops)
    if reduced:
        plan.reorder(*spatial[:-1], *reduced, spatial[-1])
    else:
        spatial = _joined(plan, spatial, _together(plan.get(block)))
    outer = plan.fuse(*spatial[:-1]) if len(spatial) > 1 else None
    if reduced:
        plan.decompose_reduction(block, reduced[0])
    if outer is not None and work >= PARALLEL_ELEMENTS and int(plan.get(outer).extent) > 1:
        plan.parallel(outer)


def _joined(plan: s_tir.Schedule, loops: Sequence[s_tir.schedule.LoopRV], together: int) -> list[s_tir.schedule.LoopRV]:
    """The loops with the last ``together`` of them as one, which is split for threads where it is all there is."""
    joined = [*loops[: len(loops) - together], plan.fuse(*loops[-together:])]
    return joined if len(joined) > 1 else list(plan.split(joined[0], [_shares(int(plan.get(joined[0]).extent)), None]))


def _together(block: Any) -> int:
    """How many of the last axes of a block each buffer has side by side, or has none of: they can be one loop.

    A short axis alone leaves most of a vector empty.
    """
    axes, regions = list(block.iter_vars), [*block.reads, *block.writes]
    counts = range(2, len(axes) + 1)
    return max((k for k in counts if all(_has_all_or_none(r, axes[-k:]) for r in regions)), default=1)


def _has_all_or_none(region: Any, axes: Sequence[tirx.IterVar]) -> bool:
    """Whether a region's last axes are these, whole and in order, or these play no part in where it lies."""
    starts, shape = [axis.min for axis in region.region], [int(n) for n in region.source.shape]
    last = list(zip(starts[-len(axes) :], shape[-len(axes) :], axes, strict=False))
    if len(last) == len(axes) and all(_is_whole(*one) for one in last):
        return True
    used = {variable for start in starts for variable in tirx.analysis.undefined_vars(start)}
    return not any(axis.var.same_as(variable) for axis in axes for variable in used)


def _is_whole(start: Any, size: int, axis: tirx.IterVar) -> bool:
    """Whether an axis of a buffer is that of the loop."""
    return size == int(axis.dom.extent) and (size == 1 or bool(axis.var.same_as(start)))


def _shares(elements: int) -> int:
    """Into how many equal parts a loop is split for threads: of whole vectors where it can be."""
    divisors = [n for n in range(1, MOST_SHARES + 1) if elements % n == 0]
    return max(divisors, key=lambda n: (elements // n % VECTOR == 0, n))
