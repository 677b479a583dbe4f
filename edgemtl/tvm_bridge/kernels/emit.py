"""Words the kernels are written in: a function over pointers, vector loops, register tiles, vector mathematics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from tvm import tirx
from tvm.ir import PrimType
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernel import Kernel, Operand

Expr = Any
Buffer = Any
Lane = Callable[[Expr], Expr]

# The whole weights section seen as one array: only its start matters, an int32 must index it.
WEIGHTS_SPACE_ELEMENTS = 2**31 - 1
CPU_DEVICE = 1
# Numbers in symbols: no points and signs.
SYMBOL_LETTERS = str.maketrans({".": "p", "-": "m", "+": None})


def f32(value: float) -> Expr:
    """A float32 constant."""
    return tirx.const(value, "float32")


def i32(value: int) -> Expr:
    """An int32 constant."""
    return tirx.const(value, "int32")


def define(symbol: str, operands: Sequence[Operand], body: Callable[..., None]) -> Kernel:
    """A kernel whose ``body`` is called with one buffer per operand, in order, and emits the code."""
    symbol = symbol.translate(SYMBOL_LETTERS)
    with IRBuilder() as builder:
        with T.prim_func(private=True):
            T.func_name(symbol)
            # The calling convention keeps TVM from wrapping it; a C function with an error code is what remains.
            T.func_attr({"calling_conv": -1, "tirx.noalias": True})
            T.func_ret(PrimType("int32"))
            handles = [T.arg(o.name, T.int32() if _is_number(o) else T.handle(o.dtype)) for o in operands]
            buffers = [_declare(o, h) for o, h in zip(operands, handles, strict=True)]
            with T.attr(i32(0), "device_id", i32(0)), T.attr(i32(0), "device_type", i32(CPU_DEVICE)):
                body(*buffers)
            T.Return(i32(0))
    return Kernel(symbol, tuple(operands), builder.get())


def _is_number(operand: Operand) -> bool:
    return operand.role == "weights_words"


def _declare(operand: Operand, handle: Any) -> Buffer:
    if _is_number(operand):
        return handle
    shape = (WEIGHTS_SPACE_ELEMENTS,) if operand.role == "weights_space" else operand.shape
    return T.decl_buffer(shape, operand.dtype, data=handle)


def within(index: Expr, low: Expr, high: Expr) -> Expr:
    """``index`` clamped to ``low`` .. ``high``: whatever memory says, it stays inside."""
    return tirx.max(tirx.min(index, high), low)


LINE_WORDS = 16
"""Words of four bytes in the 64 bytes that tensors of weights are aligned to."""


def tensor_place(table: Buffer, entry: Expr, words: Expr, size: int) -> Expr:
    """Where a tensor of ``size`` words lies in a section of ``words``: aligned and inside, whatever ``table`` says."""
    last = tirx.max(words - i32(size), i32(0))
    return T.bind(within(table[entry], i32(0), last) & i32(-LINE_WORDS))


def slots_of(offsets: Buffer, entry: Expr, rows: int) -> tuple[Expr, Expr]:
    """The first and the end of the rows that ``offsets`` gives an entry, inside of ``rows`` whatever they say."""
    start = T.bind(within(offsets[entry], i32(0), i32(rows)))
    return start, T.bind(within(offsets[entry + 1], start, i32(rows)))


def local(size: int, dtype: str = "float32") -> Buffer:
    """A small array that LLVM keeps in registers or on the stack."""
    return T.alloc_buffer((size,), dtype, scope="local", annotations={"disable_lower_builtin": True})


def vector_store(buffer: Buffer, width: int, value: Lane, index: Callable[[Expr], Sequence[Expr]]) -> None:
    """``buffer[index(j)] = value(j)`` for all lanes j below ``width`` at once."""
    with T.vectorized(width) as lane:
        T.buffer_store(buffer, value(lane), list(index(lane)))


def fill(buffer: Buffer, width: int, value: Lane) -> None:
    """``buffer[j] = value(j)`` for a one-dimensional buffer."""
    vector_store(buffer, width, value, lambda lane: (lane,))


def store_row(buffer: Buffer, valid: int, width: int, value: Lane, index: Callable[[Expr], Sequence[Expr]]) -> None:
    """A vector store of ``width`` lanes of which only the first ``valid`` exist in memory."""
    if valid == width:
        vector_store(buffer, width, value, index)
        return
    spare = local(width)
    fill(spare, width, value)
    for first, lanes in pieces(valid):
        vector_store(
            buffer,
            lanes,
            lambda lane, first=first: spare[first + lane],  # type: ignore[misc]
            lambda lane, first=first: index(first + lane),  # type: ignore[misc]
        )


def pieces(count: int) -> list[tuple[int, int]]:
    """(first, lanes) of vectors of powers of two that cover ``count`` lanes, widest first."""
    powers = [1 << bit for bit in range(count.bit_length()) if count >> bit & 1][::-1]
    return list(zip(accumulate(powers, initial=0), powers, strict=False))


def for_columns(columns: int, target: CpuTarget, emit: Callable[[int, Expr], None]) -> None:
    """Call ``emit(width, first)`` over all columns: wide vectors in a loop, one of each narrower, then one by one."""
    width, first = 4 * target.lanes, 0
    while width >= target.lanes:
        count = (columns - first) // width
        if count:
            with T.serial(count) as index:
                emit(width, first + index * width)
            first += count * width
        width //= 2
    if first < columns:
        with T.serial(columns - first) as index:
            emit(1, first + index)


@contextmanager
def guarded(condition: Expr) -> Iterator[None]:
    """Code that runs only where ``condition`` holds."""
    with T.If(condition), T.Then():
        yield


def reduce_lanes(buffers: Sequence[Buffer], width: int, combine: Callable[[Expr, Expr], Expr]) -> Expr:
    """All lanes of local vectors of one register's ``width`` (powers of two) in a tree, the same order always.

    Registers are combined whole and lanes one by one: LLVM takes apart a half of a vector bit by bit.
    """
    registers = list(buffers)
    while len(registers) > 1:
        first, second = registers[0], registers.pop(len(registers) // 2)
        registers.append(registers.pop(0))
        fill(first, width, lambda lane, a=first, b=second: combine(a[lane], b[lane]))  # type: ignore[misc]
    lanes = [registers[0][lane] for lane in range(width)]
    while len(lanes) > 1:
        middle = len(lanes) // 2
        lanes = [combine(a, b) for a, b in zip(lanes[:middle], lanes[middle:], strict=True)]
    return lanes[0]


def panels(width: int, target: CpuTarget) -> list[tuple[int, int]]:
    """Columns cut into register panels: (width, columns that exist) widest first, the last one padded to a vector."""
    lanes, widest = target.lanes, panel_width(target)
    cut = [(widest, widest)] * (width // widest)
    rest = width % widest
    while rest > 0:
        size = max(w for w in (widest, widest // 2, lanes) if w <= max(rest, lanes))
        cut.append((size, min(size, rest)))
        rest -= size
    return cut


def panel_width(target: CpuTarget) -> int:
    """The widest panel: four vectors where there are 32 registers, two where there are 16."""
    return target.lanes * (4 if target.vector_registers == 32 else 2)


def tile_rows(width: int, target: CpuTarget) -> int:
    """Rows of a register tile ``width`` wide: accumulators fill at most three quarters of the registers.

    No more than keep two multiply-add units of four cycles busy, with enough rows per vector of weights.
    """
    vectors = width // target.lanes
    return min({1: 12, 2: 8}.get(vectors, 6), target.vector_registers * 3 // 4 // vectors)


def parallel(items: int) -> Any:
    """A loop over items of work, split between threads.

    At least two, so that the loop survives and local arrays live inside it: hoisted out of it they would leave the
    scope that tells TVM which device they are on. Bodies guard the item that may not exist.
    """
    return T.parallel(max(items, 2))


def register_tile(
    rows: int,
    width: int,
    depth: int,
    a: Callable[[int, Expr], Expr],
    b: Callable[[Expr], Lane],
    start: Callable[[int], Lane],
) -> list[Buffer]:
    """Accumulators [rows][width] = start + sum over k < depth of a(row, k) * b(k), k ascending."""
    sums = [local(width) for _ in range(rows)]
    for row in range(rows):
        fill(sums[row], width, start(row))
    with T.serial(depth) as k:
        for row in range(rows):
            fill(sums[row], width, lambda lane, row=row: sums[row][lane] + a(row, k) * b(k)(lane))  # type: ignore[misc]
    return sums


def activate(buffer: Buffer, width: int, activation: str) -> None:
    """Apply an activation to a local vector in place."""
    if activation:
        fill(buffer, width, lambda lane: ACTIVATIONS[activation](buffer[lane]))


def erf(x: Expr) -> Expr:
    """erf by the rational approximation of Eigen's and XLA's fp32 code; error below 4 ulp."""
    x = tirx.max(tirx.min(x, f32(3.832507)), f32(-3.832507))
    s = x * x
    over = _polynomial(s, ERF_NUMERATOR) * x
    return over / _polynomial(s, ERF_DENOMINATOR)


ERF_NUMERATOR = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
ERF_DENOMINATOR = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Horner's rule, highest power first."""
    value = f32(coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + f32(coefficient)
    return value


def _tanh(x: Expr) -> Expr:
    """tanh by the rational approximation of Eigen's and XLA's fp32 code, which keeps its digits near zero."""
    x = tirx.max(tirx.min(x, f32(7.90531110763549805)), f32(-7.90531110763549805))
    s = x * x
    return _polynomial(s, TANH_NUMERATOR) * x / _polynomial(s, TANH_DENOMINATOR)


TANH_NUMERATOR = (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
    6.37261928875436e-04, 4.89352455891786e-03,
)  # fmt: skip
TANH_DENOMINATOR = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def _gelu(x: Expr) -> Expr:
    return f32(0.5) * x * (f32(1.0) + erf(x * f32(math.sqrt(0.5))))


def _gelu_tanh(x: Expr) -> Expr:
    """0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)."""
    return x * _sigmoid(f32(2 * math.sqrt(2 / math.pi)) * (x + f32(0.044715) * x * x * x))


def _sigmoid(x: Expr) -> Expr:
    return f32(1.0) / (f32(1.0) + exp2(tirx.max(tirx.min(x * f32(-math.log2(math.e)), f32(126.0)), f32(-126.0))))


# 2^x on [-0.5, 0.5], highest power first: least squares reweighted to a relative error below 8e-8.
EXP2 = (
    0.0013276456924630848, 0.009675541214470425, 0.05550713320110635, 0.24022119726827115, 0.6931469670362185,
    1.0000000716537631,
)  # fmt: skip

ROUNDING = 1.5 * 2**23


def exp2(x: Expr) -> Expr:
    """2 to the power x, for x between -126 and 126: the fraction by a polynomial, the integer by the exponent bits."""
    # Adding it leaves the nearest integer in the low bits; TVM has no rounding of whole vectors.
    shifted = tirx.reinterpret("int32", x + f32(ROUNDING))
    # Through its bits, or TVM's simplifier cancels the sum with the difference and nothing is rounded.
    fraction = x - (tirx.reinterpret("float32", shifted) - f32(ROUNDING))
    bits = tirx.reinterpret("int32", _polynomial(fraction, EXP2)) + (shifted << i32(23))
    return tirx.reinterpret("float32", bits)


def _clipped(x: Expr, low: float, high: float) -> Expr:
    """x between two bounds; NaN stays NaN, which min and max would make a bound."""
    return tirx.Select(x < f32(low), f32(low), tirx.Select(x > f32(high), f32(high), x))


def _hard_sigmoid(x: Expr) -> Expr:
    return _clipped(x * f32(1 / 6) + f32(0.5), 0.0, 1.0)


def _keep_nan(x: Expr, value: Expr) -> Expr:
    """``value``, or x where x is NaN, told by its bits: TVM's simplifier takes x != x for false."""
    bits = tirx.reinterpret("int32", x) & i32(0x7FFFFFFF)
    return tirx.Select(bits > i32(0x7F800000), x, value)


def _mish(x: Expr) -> Expr:
    """x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2); from 20 on the quotient is 1."""
    power = exp2(tirx.max(tirx.min(x, f32(20.0)), f32(-80.0)) * f32(math.log2(math.e)))
    n = power * (power + f32(2.0))
    return x * (n / (n + f32(2.0)))


ACTIVATIONS: dict[str, Callable[[Expr], Expr]] = {
    # Not max, which gives 0 for NaN; the same instruction.
    "relu": lambda x: tirx.Select(x < f32(0.0), f32(0.0), x),
    "relu6": lambda x: _clipped(x, 0.0, 6.0),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda x: x * _sigmoid(x),
    "mish": _mish,
    "sigmoid": lambda x: _keep_nan(x, _sigmoid(x)),
    "tanh": lambda x: _keep_nan(x, _tanh(x)),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": lambda x: x * _hard_sigmoid(x),
}
