"""Integer attention against the law."""

from dataclasses import replace

import numpy as np

from edgemtl.hw import law
from edgemtl.hw.arith import EXP2_TABLE, exp2_byte
from edgemtl.operators import QAttention
from edgemtl.processor import CpuTarget
from edgemtl.tvm_bridge.kernels.exponent import DROPPED_BITS
from tests.support.processors import on_each
from tests.tvm_bridge.integers import ends, host_targets, integers, run_all, same

TARGETS = on_each(host_targets())
AWKWARD = [
    QAttention(1, 1, 1, 1, 100000, 16),
    QAttention(3, 1, 70, 5, 100000, 16),
    QAttention(37, 2, 7, 3, 70000, 14),
    QAttention(65, 1, 33, 6, 131071, 17),
]


def check(target: CpuTarget, work: list[tuple[QAttention, np.ndarray]]) -> None:
    found = run_all(target, [(spec, {"qkv": qkv}) for spec, qkv in work])
    for (spec, qkv), outputs in zip(work, found, strict=True):
        same(outputs["y"], law.attention(qkv, spec.heads, spec.score_shift, spec.mul, spec.shift, spec.wide))


def qkv_of(spec: QAttention) -> np.ndarray:
    return integers("int8", spec.tokens, 3 * spec.heads * spec.head_dim)


@TARGETS
def test_awkward_sizes(target: CpuTarget) -> None:
    check(target, [(spec, qkv_of(spec)) for spec in AWKWARD])
    # To 12 bits: a scale 16 times as fine.
    check(target, [(replace(spec, shift=spec.shift - 4, wide=True), qkv_of(spec)) for spec in AWKWARD])


@TARGETS
def test_sizes_of_models(target: CpuTarget) -> None:
    tiny, small = QAttention(129, 3, 64, 9, 90000, 16), QAttention(129, 12, 32, 8, 90000, 16)
    check(target, [(spec, qkv_of(spec)) for spec in (tiny, small)])


@TARGETS
def test_extremes(target: CpuTarget) -> None:
    """All values the least, scores that saturate, scores far apart, and rows of equal scores."""
    spec = QAttention(20, 1, 64, 1, 131071, 16)
    least = np.full((20, 192), -128, np.int8)
    signs = np.where(integers("int8", 20, 192) < 0, np.int8(-128), np.int8(127))
    flat = qkv_of(spec)
    flat[:, :128] = 0
    check(target, [(spec, qkv) for qkv in (least, signs, flat)])


@TARGETS
def test_long_rows(target: CpuTarget) -> None:
    """Flat rows, whose weights sum to 255 times the tokens, and others."""
    work = []
    for tokens in (1024, 2048):
        spec = QAttention(tokens, 1, 16, 7, 131071, 17)
        qkv = qkv_of(spec)
        qkv[: tokens // 2, :16] = 0
        qkv[:, 32:] |= 64
        work += [(spec, qkv), (replace(spec, shift=13, wide=True), qkv)]
    check(target, work)


@on_each(host_targets(1))
def test_most_tokens(target: CpuTarget) -> None:
    """The sums of weights of flat rows leave 16 bits."""
    spec = QAttention(law.MOST_TOKENS, 1, 1, 14, 131071, 17)
    qkv = np.full((spec.tokens, 3), 127, np.int8)
    same(run_all(target, [(spec, {"qkv": qkv})])[0]["y"], np.full((spec.tokens, 1), 127, np.int8))


@on_each([*ends(1), *ends(3)])
def test_threads_change_no_bit(target: CpuTarget) -> None:
    spec = QAttention(41, 2, 20, 6, 90000, 16)
    check(target, [(spec, qkv_of(spec))])


def test_a_shorter_table_gives_the_same_weights() -> None:
    distances = np.arange(2**16)
    whole = np.minimum(distances >> 6, 9)
    short = (EXP2_TABLE >> DROPPED_BITS)[distances & 63]
    same(((short >> whole) + 1) >> 1, exp2_byte(distances))
