"""Sums, tables, scales, tensors side by side and means as instructions of the vector unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.layers import load_constants
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.streamed import MOST_ROWS, store_rows, stream, stream_in
from edgemtl.hw.arith import unpack_scale
from edgemtl.hw.law import Finish
from edgemtl.hw.law_weightless import Rescale


def finish_operands(how: Finish) -> dict[str, int]:
    """The operands of ADD and MEAN that say how a result ends."""
    wide = how.dtype == "int16"
    return {"wide": int(wide), "zero": 0 if wide else how.zero, "low": how.low}


def _is_wide(tensor: OnChipTensor) -> int:
    return tensor.itemsize - 1


def _size(tensor: OnChipTensor) -> int:
    """Granules of values of all rows."""
    return tensor.rows * tensor.stride // tensor.itemsize


def emit_add(site: Site, group: networks.AddGroup) -> None:
    """The sum of two tensors."""
    add, y = group.add.operator, group.add["y"]

    def work(operands: Sequence[OnChipTensor], result: OnChipTensor) -> None:
        a, b = operands
        site.listing.append(
            "ADD",
            {"a": a.at, "b": b.at, "dst": result.at},
            (emit.rows_of(a), emit.rows_of(b)),
            (emit.rows_of(result),),
            operands=dict(
                a_wide=_is_wide(a),
                b_wide=_is_wide(b),
                size=_size(result),
                mul_a=add.muls[0],
                mul_b=add.muls[1],
                offset=add.offset,
                shift=add.shift,
                **finish_operands(add.how),
            ),
        )

    width = y.shape[-1]
    stream(site, [group.add["a"], group.add["b"]], y, width, y.size // width, work)


def emit_map(site: Site, group: networks.MapGroup) -> None:
    """Bytes by a table."""
    table = load_constants(site, np.asarray(group.lookup.arrays()["table"], np.int8).tobytes())

    def work(operands: Sequence[OnChipTensor], result: OnChipTensor) -> None:
        (x,) = operands
        site.listing.append(
            "MAP",
            {"src": x.at, "dst": result.at, "from": table.at},
            (emit.rows_of(x), emit.rows_of(table)),
            (emit.rows_of(result),),
            operands={"size": _size(result)},
        )

    y = group.lookup["y"]
    stream(site, [group.lookup["x"]], y, group.width, y.size // group.width, work)


def emit_rescale(site: Site, group: networks.RescaleGroup) -> None:
    """Values to another scale."""
    how, y = group.convert.operator.how, group.convert["y"]

    def work(operands: Sequence[OnChipTensor], result: OnChipTensor) -> None:
        (x,) = operands
        # Without gaps all rows are one.
        flat, target = (replace(part, rows=1, stride=part.rows * part.stride) for part in (x, result))
        _rescale(site, flat, target, how, flat.stride // flat.itemsize)

    stream(site, [group.convert["x"]], y, group.width, y.size // group.width, work)


def _rescale(site: Site, x: OnChipTensor, y: OnChipTensor, how: Rescale, size: int) -> None:
    """RESCALE of rows of ``size`` granules of values."""
    site.listing.append(
        "RESCALE",
        {"src": x.at, "dst": y.at},
        (emit.rows_of(x),),
        (emit.rows_of(y, size * y.itemsize),),
        operands=dict(
            src_stride=0 if x.rows == 1 else x.stride,
            src_wide=_is_wide(x),
            dst_stride=0 if y.rows == 1 else y.stride,
            wide=_is_wide(y),
            rows=x.rows,
            size=size,
            src_zero=how.zero,
            mul=how.mul,
            shift=how.shift,
            zero=how.out_zero,
        ),
    )


def emit_concat(site: Site, group: networks.ConcatGroup) -> None:
    """Tensors side by side: every operand to its granules of each row."""
    concat, y = group.concat.operator, group.concat["y"]
    operands = [group.concat[name] for name in concat.names]

    def work(blocks: Sequence[OnChipTensor], result: OnChipTensor) -> None:
        column = 0
        for x, how in zip(blocks, concat.scales, strict=True):
            size = x.stride // x.itemsize
            part = replace(result, at=result.at.on(column * result.itemsize))
            _rescale(site, x, part, how, size)
            column += size

    stream(site, operands, y, y.shape[-1], MOST_ROWS, work)


def emit_mean(site: Site, group: networks.MeanGroup) -> None:
    """The mean of an image, summed up block by block."""
    pool, y, x = group.pool.operator, group.pool["y"], group.pool["x"]
    (mul,), (shift,) = unpack_scale(group.pool.arrays()["scale"])
    result = make_tensor(site.listing, "mean", "residual", 1, pool.channels, y.itemsize)
    for first, block in stream_in(site, x, pool.channels, MOST_ROWS):
        ends = first + block.rows == pool.windows.pixels
        site.listing.append(
            "MEAN",
            {"src": block.at, "dst": result.at},
            (emit.rows_of(block),),
            (emit.rows_of(result),) if ends else (),
            operands=dict(
                stride=block.stride,
                rows=block.rows,
                width=pool.channels,
                begin=int(first == 0),
                end=int(ends),
                src_zero=pool.zero,
                mul=int(mul),
                shift=int(shift),
                **finish_operands(pool.how),
            ),
        )
    store_rows(site, site.reserve_rows(y, site.window_of(y), pool.channels), 0, result)
