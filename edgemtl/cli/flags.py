"""The options several verbs share, spelled once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from edgemtl.errors import UsageError
from edgemtl.options import QuantiseOptions
from edgemtl.units import parse_bytes
from edgemtl.vocabulary import RESIZE_FILTERS

ModelFile = Annotated[Path, typer.Argument(help="ONNX model.", metavar="MODEL.onnx")]
BundleFile = Annotated[Path, typer.Argument(help="Compiled bundle.", metavar="APP.edgemtl")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document with schema_version.")]
TaskList = Annotated[list[str] | None, typer.Option("--task", help="Task name; repeatable; default: every task.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=64, help="Threads to run with.")]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, or sim: a board in simulation, which takes its time; default: the bundle's."),
]
NativeHost = Annotated[
    bool, typer.Option("--native-host", help="In simulation, run the bundle's library for the board's CPU too.")
]
Keys = Annotated[
    list[Path] | None,
    typer.Option("--keys", help="File of a public key; bundles that none of them signed are refused; repeatable."),
]
MinVersion = Annotated[
    int | None, typer.Option("--min-version", help="With --keys, the least counter that a bundle must be signed with.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite results that are there already.")]
Inputs = Annotated[list[Path], typer.Option("--input", help="PNG, JPEG or .npy file, or a folder of them; repeatable.")]
Target = Annotated[str, typer.Option("--target", help="What to compile for; see `edgemtl targets list`.")]

Method = Annotated[str, typer.Option("--method", help="How int8 takes ranges: minmax, percentile or entropy.")]
KeepFloat = Annotated[
    list[str] | None, typer.Option("--keep-float", help="Layer to keep in float32, with * and ?; repeatable.")
]
RequireInt8 = Annotated[
    bool,
    typer.Option("--require-int8", help="Refuse layers without an integer form; else they run in float32."),
]
MinSqnr = Annotated[float, typer.Option("--min-sqnr", help="Least signal-to-noise ratio of a task's output in dB.")]

Parameters = Annotated[
    Path | None, typer.Option("--parameters", help="For int8, a file of `edgemtl quantize` instead of images.")
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="Input mean per channel, e.g. 0.485,0.456,0.406, where the model records none."),
]
Std = Annotated[str | None, typer.Option("--std", help="Input standard deviation per channel.")]
ResizeFilter = Annotated[
    str | None,
    typer.Option("--resize-filter", help=f"How pictures are resized: {', '.join(RESIZE_FILTERS)}; as in training."),
]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="TASK=KIND where the model records none; repeatable.")]

Pathway = Annotated[str, typer.Option("--pathway", help="exact, window or calibrated.")]
Precision = Annotated[str, typer.Option("--precision", help="fp32 or int8.")]
Budget = Annotated[
    str | None,
    typer.Option("--memory-budget", help="Most the runtime may allocate, or a board use on chip: 8MiB."),
]
CompiledThreads = Annotated[int, typer.Option("--threads", help="Most threads a session can use.")]
Renames = Annotated[
    list[str] | None, typer.Option("--rename", help="OLD=NEW: call a task, or an output, otherwise; repeatable.")
]


def quantise_options(
    method: str, keep_float: Sequence[str] | None, min_sqnr: float, require_int8: bool = False
) -> QuantiseOptions:
    """They in one."""
    return QuantiseOptions(cast("Any", method), tuple(keep_float or ()), min_sqnr, require_int8=require_int8)


def budget(text: str | None) -> int | None:
    """The bytes of --memory-budget. Raises UsageError."""
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except UsageError as error:
        raise UsageError(f"--memory-budget: {error}") from None


def numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    """Numbers with commas between, one a channel. Raises UsageError for anything else."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} must be numbers with commas between, one a channel, not {text!r}") from None


def pairs(flag: str, form: str, texts: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """The sides of each ``form``, such as TASK=KIND. Raises UsageError for anything else and for a name twice."""
    split = tuple((name, kind) for name, _, kind in (text.rpartition("=") for text in texts or ()))
    for text, (name, _) in zip(texts or (), split, strict=True):
        if not name:
            raise UsageError(f"{flag} must be {form}, not {text!r}")
    if len(dict(split)) < len(split):
        raise UsageError(f"{flag} must say {form} once for each, not {' '.join(texts or ())}")
    return split


def renames(texts: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """The sides of each --rename OLD=NEW. Raises UsageError."""
    return pairs("--rename", "OLD=NEW", texts)
