"""The operations of the vector unit: norms, sums of experts, and what lies between the convolutions of a head."""

from __future__ import annotations

from typing import Final

from edgemtl.hw.operands import BYTE, MUL, ROWS, SCORES, SHIFT, SKIP, SLOT, Field, Operation, place, stride

FACTORS: Final = (2, 4, 8)
"""How many times as large ENLARGE makes an image."""
_IMAGES: Final = ("residual", "hidden", "input")
_SIZE: Final = Field("size", 14, "granules of values, which take two each where they have 16 bits")

OPERATIONS: Final = (
    Operation(
        "NORM",
        11,
        "vector",
        "LayerNorm of 16-bit rows to bytes",
        (
            *place("src", "the rows read", "residual"),
            stride("src_stride", "row"),
            *place("dst", "the rows written", "input"),
            stride("dst_stride", "row"),
            ROWS,
            Field("width", 11, "channels"),
            Field("epsilon", 48, "added to the squared deviations"),
            MUL,
            SHIFT,
            Field("parameters", 1, "halvings and offsets are read, all halvings first; else both are 0"),
            *place("from", "halvings, then offsets", "constants"),
        ),
    ),
    Operation(
        "OPEN",
        12,
        "vector",
        "turns 16-bit rows into 32-bit sums: value * 2^15 + 2^14, upper half in place, lower half at `low`",
        (
            *place("high", "the rows", "residual"),
            *place("low", "the lower halves", "hidden"),
            stride("stride", "row of either"),
            ROWS,
            Field("width", 13, "channels"),
        ),
    ),
    Operation(
        "COMBINE",
        13,
        "vector",
        "adds an expert's rows, each multiplied by its weight, to the sums of their tokens",
        (
            *place("src", "the expert's rows, 16 bits", *SCORES, "queries"),
            stride("src_stride", "row"),
            ROWS,
            SLOT,
            SKIP,
            Field("width", 13, "channels"),
            *place("high", "the sums' upper halves, of token 0", "residual"),
            *place("low", "the sums' lower halves", "hidden"),
            stride("stride", "row of either"),
        ),
    ),
    Operation(
        "SETTLE",
        14,
        "vector",
        "turns 32-bit sums into 16-bit rows: sum / 2^15, floored and saturated",
        (
            *place("high", "the rows", "residual"),
            *place("low", "the lower halves", "hidden"),
            stride("stride", "row of either"),
            ROWS,
            Field("width", 13, "channels"),
        ),
    ),
    Operation(
        "ENLARGE",
        15,
        "vector",
        "upsamples an image, bilinear or nearest",
        (
            *place("src", "the image's rows", "input"),
            Field("src_wrap", 11, "rows of the source buffer"),
            Field("width", 11, "pixels of a source row"),
            Field("height", 11, "rows of the source"),
            stride("stride", "pixel of either"),
            Field("first", 11, "first output row"),
            Field("rows", 6, "output rows"),
            *place("dst", "the output rows", "residual", "hidden"),
            Field("dst_wrap", 11, "rows of the output buffer"),
            Field("factor", 4, "how many times as high and as wide the output is", allowed=FACTORS),
            Field("nearest", 1, "a pixel takes the value of one source pixel; else bilinear, edges clamped"),
            Field("wide", 1, "values are 16 bits"),
        ),
    ),
    Operation(
        "ADD",
        17,
        "vector",
        "adds two tensors of the same layout, each multiplied to the scale of the result",
        (
            *place("a", "the first operand", *_IMAGES),
            Field("a_wide", 1, "the first operand has 16 bits"),
            *place("b", "the second operand", *_IMAGES),
            Field("b_wide", 1, "the second operand has 16 bits"),
            *place("dst", "the result", "residual"),
            Field("wide", 1, "the result has 16 bits, from 0 on where `low` is 0"),
            _SIZE,
            Field("mul_a", 15, "multiplier of the first operand", signed=True),
            Field("mul_b", 15, "multiplier of the second operand", signed=True),
            Field("offset", 24, "added to the products", signed=True),
            SHIFT,
            *BYTE,
        ),
    ),
    Operation(
        "MAP",
        18,
        "vector",
        "replaces each byte by its entry of a table",
        (
            *place("src", "the bytes read", *_IMAGES),
            *place("dst", "the bytes written", "residual"),
            _SIZE,
            *place("from", "the table, 256 bytes", "constants"),
        ),
    ),
    Operation(
        "MEAN",
        19,
        "vector",
        "sums up each channel of pixels; at the end, requantises the sums to one row",
        (
            *place("src", "the pixels", *_IMAGES),
            stride("stride", "pixel"),
            Field("rows", 11, "pixels"),
            Field("width", 13, "channels"),
            Field("begin", 1, "the sums are 0 first"),
            Field("end", 1, "the row is written"),
            Field("src_zero", 8, "subtracted from each byte read", signed=True),
            MUL,
            SHIFT,
            *place("dst", "the row written", "residual"),
            Field("wide", 1, "the result has 16 bits, from 0 on where `low` is 0"),
            *BYTE,
        ),
    ),
    Operation(
        "CLASSES",
        20,
        "vector",
        "writes the channel of the largest value of each pixel, the lowest of equal ones, as a byte",
        (
            *place("src", "the image's rows", *_IMAGES),
            Field("src_wrap", 11, "rows of the source buffer"),
            Field("width", 11, "pixels of a source row"),
            Field("height", 11, "rows of the source"),
            stride("stride", "pixel"),
            Field("wide", 1, "values are 16 bits"),
            Field("classes", 9, "channels"),
            Field("enlarge", 1, "of the image upsampled by 2, bilinear, in full precision"),
            Field("first", 12, "first output row"),
            Field("rows", 6, "output rows"),
            *place("dst", "the output rows", "residual"),
            stride("dst_stride", "output row"),
        ),
    ),
)
