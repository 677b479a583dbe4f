"""What a user decides about a compilation; every default is visible here and recorded in the bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from edgemtl.errors import UsageError
from edgemtl.hw.spec import is_board
from edgemtl.suggest import one_of
from edgemtl.vocabulary import PATHWAYS, RESIZE_FILTERS

Precision = Literal["fp32", "int8"]
Method = Literal["minmax", "percentile", "entropy"]

EXPERT_ORDERS = ("expert", "token")
ON_CHIP = ("few", "all")
MOST_TARGET_DB = 100.0
"""Beyond this float32 itself differs from one processor to the next."""
PRECISIONS: tuple[str, ...] = get_args(Precision)
METHODS: tuple[str, ...] = get_args(Method)
MOST_NORMAL = 1e30
"""The largest mean and deviation, and the inverse of the least deviation: what a bundle can record."""
Shapes = tuple[tuple[str, tuple[int, ...]], ...]
WeightRules = tuple[tuple[str, int], ...]
"""Layers, and the bits of their weights; the last rule that fits a layer counts."""
EXPERT_WEIGHTS, LINEAR_WEIGHTS = "experts", "linear"
"""What stands for all experts, and for all linear layers but gates and experts."""
WEIGHT_BITS = (4, 8)
SIDES = ("torch", "onnx", "fp32", "int8", "functional")
"""What can be compared with what."""


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(one_of(f"--{name}", choices, value))


def check_normalisation(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    if (mean is None) != (std is None):
        raise UsageError("--mean and --std must be given together, or neither")
    for flag, numbers, low in (("--mean", mean, -MOST_NORMAL), ("--std", std, 1 / MOST_NORMAL)):
        if numbers is not None and not all(low <= number <= MOST_NORMAL for number in numbers):
            given = ",".join(f"{number:g}" for number in numbers)
            raise UsageError(f"{flag} must be numbers from {low:g} to {MOST_NORMAL:g}, not {given}")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"--seed must be from 0 to {(1 << 63) - 1}, not {seed}")


@dataclass(frozen=True)
class QuantiseOptions:
    """How to quantise.

    ``method`` is the way ranges are taken. ``keep_float`` are names of layers, with * and ?, that stay in float32.
    ``least_sqnr_db`` is the least signal-to-noise ratio of any task's output that is accepted, in decibel.
    With ``require_int8`` a step without an integer form is refused; else it runs in float32, which a note says.
    ``by_law`` computes all of a quantised model by the integer law, also what the model itself computes in float32
    between its roundings and the law only comes near to; ``bit_exact`` and boards ask for it.
    ``quieten`` halves loud channels of a LayerNorm, ``correct`` corrects biases: without both, ranges and rounding
    alone are left, which comparisons call naive.
    ``wide`` are names of layers, with * and ?, whose activations have 12 bits instead of 8. With ``sqnr_target``, in
    decibel, layers are given 12 bits or float32 until the outputs on the check images reach it.
    ``weights`` are rules for the bits of weights: ("experts", 4), ("linear", 4), or names of layers with * and ?.

    Raises UsageError for a value outside its choices.
    """

    method: Method = "minmax"
    keep_float: tuple[str, ...] = ()
    least_sqnr_db: float = 15.0
    quieten: bool = True
    correct: bool = True
    require_int8: bool = False
    by_law: bool = False
    wide: tuple[str, ...] = ()
    sqnr_target: float | None = None
    weights: WeightRules = ()

    def __post_init__(self) -> None:
        _check_choice("method", self.method, METHODS)
        for pattern, bits in self.weights:
            if bits not in WEIGHT_BITS:
                raise UsageError(f"--weights {pattern} must have {' or '.join(map(str, WEIGHT_BITS))} bits, not {bits}")
        if self.weights and self.sqnr_target is not None:
            raise UsageError("--sqnr-target must come without --weights: it chooses precisions for weights of 8 bits")
        if self.sqnr_target is not None and not 0 < self.sqnr_target <= MOST_TARGET_DB:
            raise UsageError(f"--sqnr-target must be above 0 and at most {MOST_TARGET_DB:g}, not {self.sqnr_target:g}")


@dataclass(frozen=True)
class CompileOptions:
    """Behaviour of one compilation.

    ``renames`` (old, new) call tasks otherwise before anything else names them; ``tasks`` empty means every task of the
    model. ``memory_budget`` is in bytes and bounds what the runtime allocates: arena, kernel workspaces and transformed
    weights; for a board, the memory on chip. ``calibration`` is a folder of images, needed by the calibrated pathway
    and by int8, which takes ``parameters`` (a file of `edgemtl quantize`) instead where given; ``quantise`` says how
    int8 is made from images. With ``bit_exact`` every layer with an integer form runs in integers, also where float32
    is faster on a CPU target. ``seed`` draws the golden inputs; with ``selftest`` they are run before the bundle is
    there. ``threads`` is the number of parts the kernels are split into, so the most threads a session can use.
    ``mean``, ``std``, ``resize_filter`` and ``kinds`` (task, kind) fill in what a model does not record about its input
    and its tasks. ``shapes`` (input, sizes) fix the axes that a model leaves open; images named in ``cameras`` are
    uint8 [1, H, W, C] and normalised in the program.

    For a board, and for comparison alone: ``expert_order`` "token" fetches an expert when a token needs it, with a
    cache of ``expert_cache`` experts (0: none is kept), ``experts_on_chip`` "all" holds all experts of a layer.

    Raises UsageError for a value outside its choices.
    """

    target: str = "cpu"
    tasks: tuple[str, ...] = ()
    pathway: str = "exact"
    precision: str = "fp32"
    memory_budget: int | None = None
    calibration: Path | None = None
    parameters: Path | None = None
    quantise: QuantiseOptions = QuantiseOptions()
    bit_exact: bool = False
    threads: int = 2
    seed: int = 0
    selftest: bool = True
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize_filter: str | None = None
    kinds: tuple[tuple[str, str], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    shapes: Shapes = ()
    cameras: tuple[str, ...] = ()
    expert_order: str = "expert"
    expert_cache: int = 0
    experts_on_chip: str = "few"

    def __post_init__(self) -> None:
        _check_choice("pathway", self.pathway, PATHWAYS)
        _check_choice("precision", self.precision, PRECISIONS)
        self._check_experts()
        if not 1 <= self.threads <= 64:
            raise UsageError(f"--threads must be between 1 and 64, not {self.threads}")
        check_normalisation(self.mean, self.std)
        _check_seed(self.seed)
        if self.resize_filter is not None:
            _check_choice("resize-filter", self.resize_filter, RESIZE_FILTERS)
        if self.pathway == "calibrated" and self.calibration is None:
            raise UsageError(
                "--pathway calibrated must come with --calibration FOLDER: it drops the experts those images never use"
            )
        self._check_precision()

    @property
    def all_integer(self) -> bool:
        """Whether int8 has no layer in float32 for its speed: as asked, as --require-int8 implies, on every board."""
        return self.bit_exact or self.quantise.require_int8 or is_board(self.target)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file or folder that is read, besides the model."""
        board = Path(self.target) if self.target.endswith(".toml") else None
        return tuple(path for path in (self.calibration, self.parameters, board) if path is not None)

    def _check_experts(self) -> None:
        _check_choice("expert-order", self.expert_order, EXPERT_ORDERS)
        _check_choice("experts-on-chip", self.experts_on_chip, ON_CHIP)
        by_token, whole = self.expert_order == "token", self.experts_on_chip == "all"
        if (by_token or whole) and not is_board(self.target):
            raise UsageError(f"--expert-order and --experts-on-chip must come with a board, not with {self.target}")
        if by_token and whole:
            raise UsageError("--experts-on-chip all must come with --expert-order expert, not with token")
        if not 0 <= self.expert_cache <= 256:
            raise UsageError(f"--expert-cache must be between 0 and 256 experts, not {self.expert_cache}")
        if self.expert_cache and not by_token:
            raise UsageError("--expert-cache must come with --expert-order token, which alone has a cache")

    def _check_precision(self) -> None:
        if is_board(self.target) and self.quantise.sqnr_target is not None:
            raise UsageError(f"--sqnr-target must come with a CPU target, not {self.target}: use --keep-float there")
        if is_board(self.target) and self.precision != "int8":
            raise UsageError(
                f"--target {self.target} must come with --precision int8, not {self.precision}: its accelerator "
                "computes in integers; add --calibration FOLDER, or --parameters FILE from `edgemtl quantize`"
            )
        asked = self.parameters is not None or self.bit_exact or self.quantise != QuantiseOptions()
        if self.precision != "int8" and asked:
            flags = "--parameters, --method, --keep-float, --bit-exact, --min-sqnr, --sqnr-target and --weights"
            raise UsageError(f"{flags} must come with --precision int8")
        if self.parameters is not None and self.quantise != QuantiseOptions():
            flags = "--method, --keep-float, --min-sqnr, --sqnr-target and --weights"
            raise UsageError(f"--parameters must come without {flags}: the file has them")


@dataclass(frozen=True)
class CheckOptions:
    """What to check for, as of CompileOptions; a board computes in integers whatever ``precision`` says.

    Scales of integers come from ``calibration`` or ``parameters``. If neither is given, placeholder scales are used,
    which is enough for the structure. ``keep_float`` and ``require_int8`` as of QuantiseOptions, ``bit_exact`` as of
    CompileOptions. Raises UsageError for what says scales without integers, and for more than one thing that says them.
    """

    target: str = "cpu"
    tasks: tuple[str, ...] = ()
    pathway: str = "exact"
    precision: str = "fp32"
    memory_budget: int | None = None
    calibration: Path | None = None
    parameters: Path | None = None
    keep_float: tuple[str, ...] = ()
    require_int8: bool = False
    bit_exact: bool = False
    weights: WeightRules = ()
    threads: int = 2
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize_filter: str | None = None
    kinds: tuple[tuple[str, str], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    shapes: Shapes = ()
    cameras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_choice("precision", self.precision, PRECISIONS)
        reading = self.calibration is not None and self.pathway != "calibrated"
        others = self.keep_float or self.require_int8 or self.bit_exact or self.weights
        if not self.integer and (reading or self.parameters is not None or others):
            flags = "--calibration, --parameters, --keep-float, --require-int8, --bit-exact and --weights"
            raise UsageError(
                f"{flags} must come with a board or --precision int8, not with --target {self.target} in fp32"
            )
        if self.parameters is not None and (reading or self.keep_float or self.weights):
            raise UsageError(
                "--parameters must come without --calibration, --keep-float and --weights: the file says them"
            )
        _ = self.model

    @property
    def integer(self) -> bool:
        """Whether the program computes in integers."""
        return is_board(self.target) or self.precision == "int8"

    @property
    def integers(self) -> CompileOptions | None:
        """How the integers are made; None where nothing says."""
        if self.calibration is None and self.parameters is None:
            return None
        how = QuantiseOptions() if self.calibration is None else self.structure
        exact = self.all_integer
        return replace(self.model, precision="int8", parameters=self.parameters, quantise=how, bit_exact=exact)

    @property
    def all_integer(self) -> bool:
        """As of CompileOptions."""
        return self.bit_exact or self.require_int8 or is_board(self.target)

    @property
    def structure(self) -> QuantiseOptions:
        """How integer steps are made whose numbers do not matter."""
        return QuantiseOptions(
            keep_float=self.keep_float,
            least_sqnr_db=-math.inf,
            correct=False,
            by_law=self.all_integer,
            weights=self.weights,
        )

    @property
    def model(self) -> CompileOptions:
        """What is said about the model and its tasks."""
        return CompileOptions(
            tasks=self.tasks,
            pathway=self.pathway,
            memory_budget=self.memory_budget,
            calibration=self.calibration,
            threads=self.threads,
            mean=self.mean,
            std=self.std,
            resize_filter=self.resize_filter,
            kinds=self.kinds,
            renames=self.renames,
            shapes=self.shapes,
            cameras=self.cameras,
        )


@dataclass(frozen=True)
class CompareOptions:
    """What is compared with what: ``a`` is taken for the truth.

    ``inputs`` are pictures, arrays or folders of them. torch needs ``checkpoint``; int8 and functional need
    ``calibration`` or ``parameters``, and ``quantise`` says how they are made from images. ``least_sqnr_db`` and
    ``least_agreement`` (a share) fail the comparison; None fails nothing. ``mean``, ``std``, ``resize_filter``,
    ``renames`` and ``shapes`` as of CompileOptions.

    Raises UsageError for a name or value outside its choices, and for whatever would have to be guessed.
    """

    a: str
    b: str
    task: str
    inputs: tuple[Path, ...]
    checkpoint: Path | None = None
    calibration: Path | None = None
    parameters: Path | None = None
    quantise: QuantiseOptions = QuantiseOptions()
    target: str = "cpu"
    pathway: str = "exact"
    least_sqnr_db: float | None = None
    least_agreement: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize_filter: str | None = None
    renames: tuple[tuple[str, str], ...] = ()
    shapes: Shapes = ()

    def __post_init__(self) -> None:
        _check_choice("pathway", self.pathway, PATHWAYS)
        self._check_sides()
        self._check_integers()
        _ = self.model
        if not self.inputs:
            raise UsageError("compare must be given at least one --input, a picture, an .npy file or a folder of them")
        if (self.checkpoint is None) == ("torch" in self.sides):
            raise UsageError("--checkpoint FILE must be given with torch, and with torch alone: it holds its weights")

    @property
    def sides(self) -> tuple[str, str]:
        """Both names."""
        return self.a, self.b

    @property
    def integer(self) -> bool:
        """Whether a side runs in integers."""
        return not {"int8", "functional"}.isdisjoint(self.sides)

    @property
    def model(self) -> CompileOptions:
        """What is said about the model."""
        return CompileOptions(
            mean=self.mean,
            std=self.std,
            resize_filter=self.resize_filter,
            renames=self.renames,
            shapes=self.shapes,
        )

    def _check_sides(self) -> None:
        for name in self.sides:
            if name not in SIDES:
                raise UsageError(one_of("A and B of compare", SIDES, name))
        if self.a == self.b:
            raise UsageError(f"compare must be given two different ones of {', '.join(SIDES)}, not {self.a} twice")

    def _check_integers(self) -> None:
        given = self.calibration is not None, self.parameters is not None
        chosen = (self.quantise.method, self.quantise.keep_float) != ("minmax", ())
        dropping = self.pathway == "calibrated"
        if dropping and not given[0]:
            raise UsageError("--pathway calibrated must come with --calibration FOLDER, from whose images it is made")
        if self.integer and all(given) and not dropping:
            raise UsageError("--calibration and --parameters must not both be given: each says the scales")
        if not self.integer and (given[1] or chosen or (given[0] and not dropping)):
            raise UsageError(
                "--calibration, --parameters, --method and --keep-float must come with int8 or functional, "
                f"not with {self.a} and {self.b}"
            )
        if given[1] and chosen:
            raise UsageError("--parameters must come without --method and --keep-float: the file says them")
