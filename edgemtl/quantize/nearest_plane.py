"""Rounding of int8 weights to 4 bits so that a layer's sums change least on its inputs, not each weight by itself.

With second moments H of the inputs, errors E [k, n] of the weights leave the mean square trace(E^T H E) = |R E|^2 in
the sums, where H = R^T R and R is upper triangular. Rows are rounded from the last to the first, each after it has
taken over what those behind it left in its row of R: Babai's nearest plane, which is what GPTQ does (arXiv 2210.17323,
2507.18553).
"""

from __future__ import annotations

import numpy as np

from edgemtl.hw.law_weights4 import CODES, FRACTION_BITS, GROUP, CodedWeight, expand, pack_codes, spread
from edgemtl.onnx_runtime import multiply
from edgemtl.operators import Array

BLOCK = 64
"""Rows whose errors are carried on together."""


def code_weight(weight: Array, moments: Array) -> CodedWeight:
    """The int8 weight [k, n] in 4 bits, for inputs with these second moments [k, k], positive definite."""
    multipliers = choose_multipliers(weight)
    # The rows that matter most are rounded first: all others can make up for their errors.
    order = np.argsort(np.diag(moments), kind="stable")
    root = upper_root(moments[np.ix_(order, order)])
    codes = np.empty(weight.shape, np.int8)
    codes[order] = _round_rows(weight[order].astype(np.float64), spread(multipliers, len(weight))[order], root)
    return CodedWeight(len(weight), pack_codes(codes), multipliers)


def choose_multipliers(weight: Array) -> Array:
    """Multipliers int8 [groups, n] of an int8 weight [k, n]: less the largest weight of each group.

    That weight then has the code -8 and no error. A smaller multiplier would cut it, and what `_round_rows` carries on
    would be cut as well: searched for by least squares it leaves 0.2 to 0.5 dB more.
    """
    k, n = weight.shape
    padded = np.zeros((-(-k // GROUP) * GROUP, n), np.int64)
    padded[:k] = weight
    groups = padded.reshape(-1, GROUP, n)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(1)[:, None], 1)
    return np.asarray(-largest[:, 0].astype(np.int8))


def nearest_codes(weight: Array, multipliers: Array) -> Array:
    """The codes int8 whose products are nearest to the weights; 0 where the multiplier is."""
    factor = np.where(multipliers, multipliers, 1) / 2**FRACTION_BITS
    return np.where(multipliers, np.clip(np.rint(weight / factor), *CODES), 0).astype(np.int8)


def _round_rows(weight: Array, multipliers: Array, root: Array) -> Array:
    """Codes of the rows of a weight [k, n], each with multipliers of its own; root [k, k] upper triangular."""
    k, n = weight.shape
    codes, error = np.empty((k, n), np.int8), np.zeros((k, n))
    for first in range((k - 1) // BLOCK * BLOCK, -1, -BLOCK):
        end = min(first + BLOCK, k)
        carried = multiply(root[first:end, end:], error[end:]) if end < k else np.zeros((end - first, n))
        for row in range(end - 1, first - 1, -1):
            codes[row] = nearest_codes(weight[row] + carried[row - first] / root[row, row], multipliers[row])
            error[row] = weight[row] - expand(codes[row], multipliers[row])
            carried += root[first:end, row, None] * error[row]
    return codes


def upper_root(moments: Array) -> Array:
    """R, upper triangular, with R^T R = moments [k, k], which are positive definite: Cholesky's, block by block.

    numpy's own adds in an order that depends on the number of its threads.
    """
    left = moments.astype(np.float64)
    k = len(left)
    root = np.zeros_like(left)
    for first in range(0, k, BLOCK):
        end = min(first + BLOCK, k)
        for row in range(first, end):
            root[row, row:] = left[row, row:] / np.sqrt(left[row, row])
            left[row + 1 : end, row + 1 :] -= root[row, row + 1 : end, None] * root[row, row + 1 :]
        if end < k:
            right = np.ascontiguousarray(root[first:end, end:])
            left[end:, end:] -= multiply(np.ascontiguousarray(right.T), right)
    return root
