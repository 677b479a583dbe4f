"""Kernels and the order they run in, to the bytes of one shared library.

Every exported entry takes flat uint8 arrays, 64-byte aligned, and a range of steps:
``entry(arena, weights, prepared, inputs, output, begin, end)`` runs its calls ``begin <= i < end``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm import tirx
from tvm.ir import GlobalVar, PrimType
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm_ffi import structural_equal

from edgemtl.errors import UnsupportedError
from edgemtl.processor import ARCHITECTURES, CpuTarget, architecture_of
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.target import tvm_target

WEIGHTS_WORDS = "weights_words"
WORD_BYTES = 4
SPACES = ("arena", "weights", "prepared", "inputs", "output")
# No build id, no symbols: the same program must give the same bytes.
LINK_OPTIONS = ["-shared", "-fPIC", "-Wl,--build-id=none", "-s"]
# Local arrays that share memory no longer fit in registers.
PASS_CONFIG = {"tirx.disable_storage_rewrite": True}


@dataclass(frozen=True)
class Argument:
    """A place: one of SPACES and a byte offset in it, a multiple of 64; or, as "weights_words", no place but how many
    words of four bytes the space of weights has.
    """

    space: str
    offset: int


@dataclass(frozen=True)
class KernelCall:
    """One step: a kernel and the place of each of its operands."""

    kernel: Kernel
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class EntryFunction:
    """One exported function: its name, its calls and the bytes of each space it is given."""

    name: str
    calls: tuple[KernelCall, ...]
    space_bytes: Mapping[str, int]


def build_library(entries: Sequence[EntryFunction], target: CpuTarget) -> bytes:
    """Compile ``entries`` into a shared library; the same entries give the same bytes.

    Raises UnsupportedError where the target's linker is not installed.
    """
    linker = ARCHITECTURES[architecture_of(target)].linker
    if shutil.which(linker.command) is None:
        raise UnsupportedError(target.name, f"{linker.command} is not installed", linker.hint)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.so"
        compile_entries(entries, target).export_library(str(path), cc=linker.command, options=LINK_OPTIONS)
        return path.read_bytes()


def compile_entries(entries: Sequence[EntryFunction], target: CpuTarget) -> tvm.runtime.Executable:
    """Compile ``entries`` in memory, not yet linked; kernels of one symbol are one function."""
    functions: dict[str, tirx.PrimFunc] = {}
    for call in (call for entry in entries for call in entry.calls):
        known = functions.setdefault(call.kernel.symbol, call.kernel.function)
        if not (known.same_as(call.kernel.function) or structural_equal(known, call.kernel.function)):
            raise ValueError(f"the symbol {call.kernel.symbol} must name one kernel, not two")
    symbols = {name: GlobalVar(name) for name in functions}
    module = {symbols[name]: function for name, function in functions.items()}
    module |= {GlobalVar(entry.name): _entry_function(entry, symbols) for entry in entries}
    with tvm.transform.PassContext(config=PASS_CONFIG):
        return tvm.compile(tvm.IRModule(module), target=tvm_target(target))


def _entry_function(entry: EntryFunction, symbols: Mapping[str, GlobalVar]) -> tirx.PrimFunc:
    with IRBuilder() as builder:
        with T.prim_func():
            T.func_name(entry.name)
            T.func_attr({"global_symbol": entry.name})
            # A space the entry does not use still has its place, as one byte.
            spaces = {s: T.arg(s, T.Buffer((max(entry.space_bytes.get(s, 0), 1),), "uint8")) for s in SPACES}
            begin, end = T.arg("begin", T.int32()), T.arg("end", T.int32())
            for index, call in enumerate(entry.calls):
                with T.If(tirx.all(begin <= index, index < end)):
                    with T.Then():
                        T.evaluate(_call(call, symbols, spaces))
    return builder.get()


def _call(call: KernelCall, symbols: Mapping[str, GlobalVar], spaces: Mapping[str, tirx.Buffer]) -> tvm.ir.Call:
    values = [_value(place, spaces) for place in call.arguments]
    return tvm.ir.Call(symbols[call.kernel.symbol], values, ret_ty=PrimType("int32"))


def _value(place: Argument, spaces: Mapping[str, tirx.Buffer]) -> tirx.PrimExpr:
    if place.space == WEIGHTS_WORDS:
        return tirx.IntImm("int32", int(spaces["weights"].shape[0]) // WORD_BYTES)
    return tirx.address_of(spaces[place.space][place.offset])
