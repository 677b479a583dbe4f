"""What a testbench needs to run a board's segments: streams, images of DRAM, and what must come out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemtl.bundle import Bundle, FpgaProgram, Rows, open_bundle
from edgemtl.errors import UsageError
from edgemtl.hw.encoding import decode_stream, disassemble
from edgemtl.hw.isa import LINE_BYTES
from edgemtl.hw.spec import AcceleratorSpec
from edgemtl.paths import folder_aside, output_folder, put_in_place
from edgemtl.progress import counting, tick
from edgemtl.runtime import SegmentRun, Session

Bytes = npt.NDArray[np.uint8]
CASE = "plain"
"""The golden input that vectors are made of."""
INDEX, PARAMETERS = "vectors.json", "parameters.bin"


@dataclass(frozen=True)
class Listing:
    """The instructions of one segment, a line each, with the layer that each belongs to."""

    task: str
    segment: int
    layers: tuple[str, ...]
    lines: tuple[str, ...]


def list_streams(bundle: Path, tasks: Sequence[str] | None = None) -> Iterator[Listing]:
    """The segments of a board's bundle as text, those of ``tasks`` or all. Raises UsageError for a CPU's bundle."""
    with open_bundle(bundle) as opened:
        program = board_program(opened)
        for task in tasks or list(program.tasks):
            for number, entry in enumerate(program.tasks[task].segments):
                stream = decode_stream(opened.member(entry.stream), program.board.engine)
                index = np.frombuffer(opened.section(entry.layer_index), "<u2")
                layers = tuple(entry.layers[place].name for place in index[: len(stream.instructions)])
                yield Listing(task, number, layers, tuple(map(disassemble, stream.instructions)))


def board_program(opened: Bundle) -> FpgaProgram:
    """A bundle's program for a board. Raises UsageError for one for a CPU."""
    program = opened.manifest.program
    if not isinstance(program, FpgaProgram):
        raise UsageError("the bundle must be a board's, with instruction streams; compile it with --target zcu104")
    return program


def write_vectors(bundle: Path, folder: Path, tasks: Sequence[str], native_host: bool = False) -> tuple[str, ...]:
    """Write the vectors of the first golden input of each task into ``folder``; the names of the files.

    For each segment: its stream, the window ``input`` before it, the window ``output`` as it must be behind it, and its
    listing. Bytes that no row takes are 0. Raises what `Session.open` raises, and UsageError for a CPU's bundle.
    """
    files: dict[str, bytes] = {}
    segments: list[dict[str, Any]] = []
    with open_bundle(bundle) as opened:
        program = board_program(opened)
        files[PARAMETERS] = opened.weights().tobytes()
        goldens = {task: next(g for g in opened.goldens(task) if g.case == CASE) for task in tasks}
    with Session.open(bundle, "sim", native_host=native_host) as session, counting("tasks", len(tasks)):
        for task, golden in goldens.items():
            for number, run in enumerate(session.simulate(task, golden.inputs)):
                segments.append(_describe(task, number, run))
                files |= _contents(f"{task}.{number}", run, program.board)
            tick()
    files[INDEX] = json.dumps(_document(program, segments), indent=1).encode() + b"\n"
    with output_folder(folder), folder_aside(folder, folder) as aside:
        for name, content in files.items():
            (aside / name).write_bytes(content)
        put_in_place(aside, folder, list(files))
    return tuple(files)


def _document(program: FpgaProgram, segments: list[dict[str, Any]]) -> dict[str, Any]:
    board = program.board
    about = {"schema_version": 1, "board": board.name, "engine": asdict(board.engine), "line_bytes": LINE_BYTES}
    return {**about, "parameters": PARAMETERS, "segments": segments}


def _describe(task: str, number: int, run: SegmentRun) -> dict[str, Any]:
    stem, entry = f"{task}.{number}", run.segment
    files = {"stream": f"{stem}.stream.bin", "listing": f"{stem}.txt"}
    images = {"input": f"{stem}.input.bin", "output": f"{stem}.output.bin"}
    rows = {"input_rows": [asdict(r) for r in entry.inputs], "output_rows": [asdict(r) for r in entry.outputs]}
    return {"task": task, "segment": number, **files, **images, "windows": asdict(entry.windows), **rows}


def _contents(stem: str, run: SegmentRun, board: AcceleratorSpec) -> dict[str, bytes]:
    lines = map(disassemble, decode_stream(run.stream, board.engine).instructions)
    return {
        f"{stem}.stream.bin": run.stream,
        f"{stem}.txt": ("\n".join(lines) + "\n").encode(),
        f"{stem}.input.bin": _rows_alone(run.input, run.segment.inputs).tobytes(),
        f"{stem}.output.bin": _rows_alone(run.output, run.segment.outputs).tobytes(),
    }


def _rows_alone(window: Bytes, places: Sequence[Rows]) -> Bytes:
    """A window with the bytes of its rows, and 0 elsewhere."""
    image = np.zeros_like(window)
    for rows in places:
        first, end = rows.line * LINE_BYTES, rows.line * LINE_BYTES + rows.rows * rows.pitch
        source, goal = (each[first:end].reshape(rows.rows, rows.pitch) for each in (window, image))
        goal[:, : rows.row_bytes] = source[:, : rows.row_bytes]
    return image
