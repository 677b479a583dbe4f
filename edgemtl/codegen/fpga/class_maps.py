"""The class of each pixel as instructions of the vector unit: of logits in DRAM, or of those that a layer leaves."""

from __future__ import annotations

from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.emit import OnChipTensor, make_tensor
from edgemtl.codegen.fpga.enlarging import row_blocks, stream_image
from edgemtl.codegen.fpga.row_rings import RowRing
from edgemtl.codegen.fpga.rows import Part
from edgemtl.codegen.fpga.site import Site
from edgemtl.codegen.fpga.streamed import row_bytes
from edgemtl.hw.geometry import enlarged_from
from edgemtl.operators import QClasses


def emit_classes(site: Site, group: networks.ClassesGroup) -> None:
    """Blocks of output rows; the logits of the next block are loaded while this one is compared."""
    operator, x, y = group.classes.operator, group.classes["x"], group.classes["y"]
    # A row of logits takes more than one of classes: blocks are as long as the rows that they read allow.
    row = max(row_bytes(site, y, operator.out_width), operator.width * row_bytes(site, x, operator.channels))
    parts = row_blocks(site, operator.out_height, row)
    results = class_tensors(site, operator, parts[0][1], len(parts[:2]))

    def compare(source: RowRing, part: Part, result: OnChipTensor) -> None:
        classes_of(site, source, operator, part[0], result)

    shape = operator.height, operator.width, operator.channels
    lines = {part: _source_lines(operator, part) for part in parts}
    stream_image(site, (x, y), shape, lines, results, compare)


def class_tensors(site: Site, operator: QClasses, rows: int, count: int) -> list[OnChipTensor]:
    """Room for ``rows`` rows of classes, ``count`` times."""
    return [make_tensor(site.listing, "classes", "residual", rows, operator.out_width) for _ in range(count)]


def final_rows(operator: QClasses, first: int, rows: int) -> Part:
    """The output rows that ``rows`` rows of logits from ``first`` on make final, those before being there.

    Of an upsampled image all but one of the rows of the last logits, which lies between them and the next.
    """
    begin, end = (operator.factor * y - (operator.enlarge and 0 < y < operator.height) for y in (first, first + rows))
    return begin, end - begin


def _source_lines(operator: QClasses, part: Part) -> range:
    """The rows of logits that a block of output rows reads."""
    first, rows = part
    return enlarged_from(first, rows, operator.height, 2, False) if operator.enlarge else range(first, first + rows)


def classes_of(site: Site, source: RowRing, operator: QClasses, first: int, result: OnChipTensor) -> None:
    """CLASSES of a block, from its first row on."""
    lines = _source_lines(operator, (first, result.rows))
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
