"""The integer law once more, in python integers and fractions: one number at a time, nothing shared with numpy."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction


def nearest(value: Fraction) -> int:
    """The nearest integer, halves up."""
    return math.floor(value + Fraction(1, 2))


def clamp(value: int, bits: int) -> int:
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


def requantise(value: int, mul: int, shift: int) -> int:
    return nearest(Fraction(value * mul, 2**shift))


def reciprocal(value: int) -> tuple[int, int]:
    bits = value.bit_length()
    return min(2 ** (16 + bits) // value, 2**17 - 1), bits


def reciprocal_sqrt(value: int) -> tuple[int, int]:
    exponent = -(-value.bit_length() // 2) - 17
    root = math.isqrt(math.floor(Fraction(value) / Fraction(4) ** exponent))
    return min(2**33 // root, 2**17 - 1), exponent


def scale_mantissa(mantissa: int, mul: int) -> int:
    return min(nearest(Fraction(mantissa * mul, 2**17)), 2**17 - 1)


def _table_entry(fraction: int, steps: int) -> int:
    with localcontext() as context:
        context.prec = 40
        return nearest(Fraction(65280 * Decimal(2) ** (Decimal(-fraction) / steps)))


TABLE = [_table_entry(fraction, 64) for fraction in range(64)]
FINE_TABLE = [_table_entry(fraction, 128) for fraction in range(128)]


def exp2_wide(distance: int) -> int:
    whole, fraction = divmod(distance, 64)
    return nearest(Fraction(TABLE[fraction], 2**whole))


def exp2_byte(distance: int) -> int:
    whole, fraction = divmod(distance, 64)
    return nearest(Fraction(TABLE[fraction], 2 ** (8 + whole)))


def exp2_fine(distance: int) -> int:
    whole, fraction = divmod(distance, 128)
    return nearest(Fraction(FINE_TABLE[fraction], 2 ** (4 + whole)))


def layer_norm(
    row: list[int], epsilon: int, mul: int, shift: int, halvings: list[int], offset: list[int], bits: int = 8
) -> list[int]:
    n, total = len(row), sum(row)
    mantissa, exponent = reciprocal_sqrt(n * sum(x * x for x in row) - total**2 + epsilon)
    factor = Fraction(scale_mantissa(mantissa, mul)) / Fraction(2) ** (16 + exponent + shift)
    return [
        clamp(nearest((n * x - total) * factor / 2**halve) + add, bits)
        for x, halve, add in zip(row, halvings, offset, strict=True)
    ]


def attention(
    qkv: list[list[int]], heads: int, score_shift: int, mul: int, shift: int, bits: int = 8
) -> list[list[int]]:
    dim = len(qkv[0]) // (3 * heads)
    out = [[0] * (heads * dim) for _ in qkv]
    for head in range(heads):
        q, k, v = ([row[(i * heads + head) * dim :][:dim] for row in qkv] for i in range(3))
        for t, query in enumerate(q):
            products = [sum(a * b for a, b in zip(query, key, strict=True)) for key in k]
            scores = [clamp(nearest(Fraction(product, 2**score_shift)), 16) for product in products]
            weights = [(exp2_byte if bits == 8 else exp2_fine)(max(scores) - score) for score in scores]
            mantissa, exponent = reciprocal(sum(weights))
            factor = Fraction(scale_mantissa(mantissa, mul), 2 ** (exponent + shift - 1))
            for c in range(dim):
                summed = sum(weight * value[c] for weight, value in zip(weights, v, strict=True))
                out[t][head * dim + c] = clamp(nearest(summed * factor), bits)
    return out


def route(
    logits: list[int],
    top_k: int,
    candidates: tuple[int, ...],
    normalize: bool,
    threshold: int,
    fraction_bits: int = 10,
) -> list[tuple[int, int]]:
    """(candidate, weight) of each choice of one token."""
    leader = max(logits[place] for place in candidates) if normalize else max(logits)
    powers = [exp2_wide(nearest(Fraction(max(leader - logit, 0), 2 ** (fraction_bits - 6)))) for logit in logits]
    chosen = sorted(range(len(candidates)), key=lambda place: (-logits[candidates[place]], place))[:top_k]
    mantissa, exponent = reciprocal(sum(powers[candidates[place]] for place in chosen) if normalize else sum(powers))
    weights = [nearest(Fraction(powers[candidates[place]] * mantissa, 2 ** (exponent + 1))) for place in chosen]
    return [(place, 0 if weight < threshold else weight) for place, weight in zip(chosen, weights, strict=True)]


def combine(residual: int, terms: list[tuple[int, int]]) -> int:
    """One value of a token: the residual and (weight, result) of each of its experts."""
    return clamp(nearest(residual + sum(Fraction(weight * y, 2**15) for weight, y in terms)), 16)


def sum_one_by_one(residual: int, terms: list[tuple[int, int]]) -> int:
    """32 bits whose upper 17, saturated, are `combine`: experts added in this order, each addition saturated."""
    total = residual * 2**15 + 2**14
    for weight, y in terms:
        total = clamp(total + weight * y, 32)
    return total


def enlarged(line: list[int]) -> list[Fraction]:
    """One line at twice the size: half-pixel centres, the position clamped to the line, linear in between."""
    out = []
    for i in range(2 * len(line)):
        position = min(max((i + Fraction(1, 2)) / 2 - Fraction(1, 2), Fraction(0)), Fraction(len(line) - 1))
        left = math.floor(position)
        right = min(left + 1, len(line) - 1)
        out.append(line[left] + (position - left) * (line[right] - line[left]))
    return out
