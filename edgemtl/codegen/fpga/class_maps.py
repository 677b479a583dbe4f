"""The class of each pixel as instructions of the vector unit, block by block of output rows."""

from __future__ import annotations

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.convolutions import RowRing
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.enlarging import row_blocks, source_rows
from edgemtl.codegen.fpga.rows import Part, one_ahead
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.streamed import row_bytes, store_rows
from edgemtl.hw.geometry import enlarged_from
from edgemtl.operators import QClasses


def emit_classes(site: Site, group: networks.ClassesGroup) -> None:
    """Blocks of output rows; the logits of the next block are loaded while this one is compared."""
    operator, x, y = group.classes.operator, group.classes["x"], group.classes["y"]
    stored = site.reserve_rows(y, site.window_of(y), operator.out_width)
    # A row of logits takes more than one of classes: blocks are as long as the rows that they read allow.
    row = max(row_bytes(site, y, operator.out_width), operator.width * row_bytes(site, x, operator.channels))
    parts = row_blocks(site, operator.out_height, row)
    results = [make_tensor(site.listing, "classes", "residual", parts[0][1], operator.out_width) for _ in parts[:2]]
    lines = {part: _source_lines(operator, part) for part in parts}
    shape = operator.height, operator.width, operator.channels
    sources = source_rows(site, x, shape, max(map(len, lines.values())), len(parts))
    numbers = {part: index for index, part in enumerate(parts)}
    for part, ring in one_ahead(parts, lambda part: sources.ring(numbers[part], lines[part])):
        first, rows = part
        result = results[numbers[part] % 2].part(0, rows)
        _classes(site, ring, operator, first, result, lines[part])
        store_rows(site, stored, first, result)


def _source_lines(operator: QClasses, part: Part) -> range:
    """The rows of logits that a block of output rows reads."""
    first, rows = part
    return enlarged_from(first, rows, operator.height, 2, False) if operator.enlarge else range(first, first + rows)


def _classes(site: Site, source: RowRing, operator: QClasses, first: int, result: OnChipTensor, lines: range) -> None:
    """CLASSES of a block, from its first row on."""
    site.listing.append(
        "CLASSES",
        {"src": source.at, "dst": result.at},
        source.touched(lines.start, lines.stop),
        (emit.rows_of(result),),
        operands=dict(
            src_wrap=source.wrap,
            width=source.width,
            height=operator.height,
            stride=source.stride,
            wide=int(operator.dtype == "int16"),
            classes=operator.channels,
            enlarge=int(operator.enlarge),
            first=first,
            rows=result.rows,
            dst_stride=result.stride,
        ),
    )
