"""The options several verbs share, spelled once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from edgemtl.errors import UsageError
from edgemtl.options import WEIGHT_BITS, QuantiseOptions, Shapes, WeightRules
from edgemtl.units import parse_bytes
from edgemtl.vocabulary import RESIZE_FILTERS

MOST_DIGITS = 10
"""Of a size; no tensor has an axis as long."""
ModelFile = Annotated[Path, typer.Argument(help="ONNX model.", metavar="MODEL.onnx")]
BundleFile = Annotated[Path, typer.Argument(help="Compiled bundle.", metavar="APP.edgemtl")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
TaskList = Annotated[list[str] | None, typer.Option("--task", help="Task to use; repeatable. Default: all tasks.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=64, help="Number of threads.")]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, or sim (simulates a board; slow). Default: what the bundle is for."),
]
NativeHost = Annotated[
    bool, typer.Option("--native-host", help="In simulation, run the host CPU's steps in the bundle's library.")
]
Keys = Annotated[
    list[Path] | None,
    typer.Option("--keys", help="Public key file; refuse bundles that none of the keys signed; repeatable."),
]
MinVersion = Annotated[
    int | None, typer.Option("--min-version", help="With --keys, refuse bundles signed with a smaller counter.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing results.")]
Inputs = Annotated[
    list[Path],
    typer.Option(
        "--input",
        help="PNG, JPEG, .npy or .npz file, or a folder of them; NAME=FILE for each of several inputs; repeatable.",
    ),
]
Target = Annotated[str, typer.Option("--target", help="Processor or board to compile for; see `edgemtl targets list`.")]

Method = Annotated[str, typer.Option("--method", help="How int8 ranges are chosen: minmax, percentile or entropy.")]
KeepFloat = Annotated[
    list[str] | None, typer.Option("--keep-float", help="Layer to keep in float32; may contain * and ?; repeatable.")
]
RequireInt8 = Annotated[
    bool,
    typer.Option(
        "--require-int8",
        help="Refuse layers without an integer form instead of running them in float32; implies --bit-exact.",
    ),
]
BitExact = Annotated[
    bool,
    typer.Option(
        "--bit-exact",
        help="In int8, run every layer with an integer form in integers, also where float32 is faster on the CPU or "
        "is what a quantised model computes between its roundings.",
    ),
]
MinSqnr = Annotated[
    float, typer.Option("--min-sqnr", help="Minimum signal-to-noise ratio of each task's output, in dB.")
]
SqnrTarget = Annotated[
    float | None,
    typer.Option(
        "--sqnr-target", help="Signal-to-noise ratio in dB to reach by giving layers 12-bit activations or float32."
    ),
]

Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        help="LAYERS=BITS, bits 4 or 8: experts=4, linear=4, or a layer (* and ? allowed); repeatable, the last fits.",
    ),
]

Calibration = Annotated[Path | None, typer.Option("--calibration", help="Folder of images to take int8 scales from.")]
Parameters = Annotated[
    Path | None, typer.Option("--parameters", help="For int8, parameters from `edgemtl quantize` instead of images.")
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="Input mean per channel, e.g. 0.485,0.456,0.406, if the model records none."),
]
Std = Annotated[
    str | None, typer.Option("--std", help="Input standard deviation per channel, if the model records none.")
]
ResizeFilter = Annotated[
    str | None,
    typer.Option("--resize-filter", help=f"How pictures are resized, as in training: {', '.join(RESIZE_FILTERS)}."),
]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="TASK=KIND, if the model records no kind; repeatable.")]

Pathway = Annotated[
    str, typer.Option("--pathway", help="Experts to compile: exact (all a task can reach), window or calibrated.")
]
Precision = Annotated[str, typer.Option("--precision", help="fp32 or int8.")]
Budget = Annotated[
    str | None,
    typer.Option("--memory-budget", help="Limit of what the runtime allocates, or of on-chip memory, e.g. 8MiB."),
]
CompiledThreads = Annotated[int, typer.Option("--threads", help="Maximum number of threads of a session.")]
Renames = Annotated[list[str] | None, typer.Option("--rename", help="OLD=NEW: rename a task or an output; repeatable.")]

Cameras = Annotated[
    list[str] | None,
    typer.Option(
        "--camera", help="Image to take as uint8 [1,H,W,C] and normalise in the program, by its name; repeatable."
    ),
]
ShapeList = Annotated[
    list[str] | None,
    typer.Option("--shape", help="NAME=SIZES of an input whose axes are open, e.g. image=1x3x480x640; repeatable."),
]


def quantise_options(
    method: str,
    keep_float: Sequence[str] | None,
    min_sqnr: float,
    require_int8: bool = False,
    sqnr_target: float | None = None,
    weights: Sequence[str] | None = None,
) -> QuantiseOptions:
    """These options as one value. Raises UsageError."""
    layers, rules = tuple(keep_float or ()), weight_rules(weights)
    return QuantiseOptions(
        cast("Any", method), layers, min_sqnr, require_int8=require_int8, sqnr_target=sqnr_target, weights=rules
    )


def weight_rules(texts: Sequence[str] | None) -> WeightRules:
    """The sides of each --weights LAYERS=BITS. Raises UsageError."""
    rules = pairs("--weights", "LAYERS=BITS", texts)
    for pattern, bits in rules:
        if bits not in map(str, WEIGHT_BITS):
            raise UsageError(f"--weights {pattern} must have {' or '.join(map(str, WEIGHT_BITS))} bits, not {bits!r}")
    return tuple((pattern, int(bits)) for pattern, bits in rules)


def budget(text: str | None) -> int | None:
    """The bytes of --memory-budget. Raises UsageError."""
    if text is None:
        return None
    try:
        return parse_bytes(text)
    except UsageError as error:
        raise UsageError(f"--memory-budget: {error}") from None


def numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    """Comma-separated numbers, one per channel. Raises UsageError for anything else."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} must be comma-separated numbers, one per channel, not {text!r}") from None


def pairs(flag: str, form: str, texts: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """The sides of each ``form``, such as TASK=KIND. Raises UsageError for anything else and for a name twice."""
    split = tuple((name, kind) for name, _, kind in (text.rpartition("=") for text in texts or ()))
    for text, (name, _) in zip(texts or (), split, strict=True):
        if not name:
            raise UsageError(f"{flag} must be {form}, not {text!r}")
    if len(dict(split)) < len(split):
        raise UsageError(f"{flag} must give {form} once per name, not {' '.join(texts or ())}")
    return split


def described(
    mean: str | None,
    std: str | None,
    resize_filter: str | None,
    kinds: Sequence[str] | None,
    shape: Sequence[str] | None,
    cameras: Sequence[str] | None,
) -> dict[str, Any]:
    """What a user says of a model's inputs and tasks, by the names of CompileOptions. Raises UsageError."""
    return {
        "mean": numbers("--mean", mean),
        "std": numbers("--std", std),
        "resize_filter": resize_filter,
        "kinds": pairs("--kind", "TASK=KIND", kinds),
        "shapes": shapes(shape),
        "cameras": tuple(dict.fromkeys(cameras or ())),
    }


def shapes(texts: Sequence[str] | None) -> Shapes:
    """The inputs and sizes of each --shape NAME=SIZES. Raises UsageError."""
    return tuple((name, _sizes(name, sizes)) for name, sizes in pairs("--shape", "NAME=SIZES", texts))


def _sizes(name: str, text: str) -> tuple[int, ...]:
    parts = text.split("x")
    if not all(part.isascii() and part.isdigit() and 0 < len(part) < MOST_DIGITS and int(part) for part in parts):
        raise UsageError(
            f"--shape {name} must be numbers from 1 on with x between them, such as 1x3x480x640, not {text!r}"
        )
    return tuple(map(int, parts))


def renames(texts: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """The sides of each --rename OLD=NEW. Raises UsageError."""
    return pairs("--rename", "OLD=NEW", texts)
