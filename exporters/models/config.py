"""The description of a model: everything that decides its graph and the shapes of its parameters."""

import sys
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgemtl.errors import ConfigError
from edgemtl.records import Dialect, Field, members
from edgemtl.suggest import nearest
from edgemtl.vocabulary import KINDS, Kind

Routing = Literal["multi_gate", "single_gate", "task_conditioned", "window"]

ROUTINGS: tuple[str, ...] = typing.get_args(Routing)

MOST_SIZE, MOST_BLOCKS, MOST_TASKS, MOST_STAGES = 1 << 16, 1024, 64, 64
"""Beyond these a description is a mistake, and building the model would not end."""


def _require(ok: bool, field: str, rule: str, value: object) -> None:
    if not ok:
        raise ConfigError(f"{field} must be {rule}, not {value!r}")


def _is_int(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_finite(value: object) -> bool:
    # A JSON integer may be too large for a float.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_ints(value: object, low: int) -> bool:
    return isinstance(value, tuple) and all(_is_int(v, low) for v in value)


def _is_triple(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(_is_finite(v) for v in value)


@dataclass(frozen=True)
class TaskSpec:
    """One task: its name, the channels of its output map and what the map means."""

    name: str
    channels: int
    kind: Kind

    def __post_init__(self) -> None:
        name_ok = isinstance(self.name, str) and self.name.isidentifier()
        _require(name_ok, "task name", "a letter followed by letters, digits and underscores", self.name)
        channels_ok, kinds = _is_int(self.channels, 1), ", ".join(KINDS)
        _require(channels_ok, f"channels of task {self.name}", "a positive integer", self.channels)
        _require(self.kind in KINDS, f"kind of task {self.name}", f"one of {kinds}", self.kind)


@dataclass(frozen=True)
class ModelConfig:
    """A multi-task vision transformer with mixture-of-experts blocks; `ConfigError` if it makes no sense.

    image: height and width in pixels.  patch: side of a square patch in pixels.
    moe_blocks: indices of the blocks whose MLP is a mixture of experts; () is a dense model.
    routing: `multi_gate` (one gate per task), `single_gate` (one gate, which does not know the task),
    `task_conditioned` (one gate that also sees an embedding of the task, of `task_embedding` numbers) or `window`
    (one gate; a task sees `experts_per_task` neighbours; with `task_embedding` it sees the embedding as well).
    gate_input_ahead: the gate reads the block's input, before the attention, instead of what the experts read.
    expert_prune: selected scores below it become 0; 0 switches it off.
    head_channels: output channels of a head's 3x3 convolutions, in order.
    mean, std: the model's input is (pixel / 255 - mean) / std, per RGB channel.
    """

    image: tuple[int, int]
    patch: int
    dim: int
    depth: int
    heads: int
    mlp_hidden: int
    tasks: tuple[TaskSpec, ...]
    moe_blocks: tuple[int, ...] = ()
    experts: int = 16
    top_k: int = 2
    expert_hidden: int = 384
    routing: Routing = "multi_gate"
    experts_per_task: int = 0
    task_embedding: int = 0
    expert_prune: float = 0.0
    class_token: bool = True
    head_channels: tuple[int, ...] = (256, 256, 256, 256)
    norm_eps: float = 1e-6
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    gate_input_ahead: bool = False

    def __post_init__(self) -> None:
        self._check_trunk()
        self._check_tasks()
        self._check_limits()
        if self.moe_blocks != ():
            self._check_experts()
            self._check_routing()

    def _check_trunk(self) -> None:
        for name in ("patch", "dim", "depth", "heads", "mlp_hidden"):
            _require(_is_int(getattr(self, name), 1), name, "a positive integer", getattr(self, name))
        pair = _is_ints(self.image, 1) and len(self.image) == 2
        _require(pair, "image", "a tuple of two positive integers, height and width", self.image)
        whole = all(side % self.patch == 0 for side in self.image)
        _require(whole, "image", f"a multiple of patch ({self.patch}) in height and width", self.image)
        _require(self.dim % self.heads == 0, "dim", f"a multiple of heads ({self.heads})", self.dim)
        _require(isinstance(self.class_token, bool), "class_token", "true or false", self.class_token)
        eps_ok = _is_finite(self.norm_eps) and self.norm_eps > 0
        _require(eps_ok, "norm_eps", "a positive number", self.norm_eps)
        _require(_is_triple(self.mean), "mean", "a tuple of three finite numbers", self.mean)
        positive = _is_triple(self.std) and min(self.std) > 0
        _require(positive, "std", "a tuple of three positive finite numbers", self.std)

    def _check_tasks(self) -> None:
        specs = isinstance(self.tasks, tuple) and all(isinstance(t, TaskSpec) for t in self.tasks)
        _require(specs and len(self.tasks) > 0, "tasks", "a tuple of at least one TaskSpec", self.tasks)
        names = [task.name for task in self.tasks]
        _require(len(set(names)) == len(names), "tasks", "named differently from each other", names)
        ok = _is_ints(self.head_channels, 1) and len(self.head_channels) > 0
        _require(ok, "head_channels", "a tuple of at least one positive integer", self.head_channels)

    def _check_limits(self) -> None:
        for name in ("patch", "dim", "heads", "mlp_hidden"):
            _require(getattr(self, name) <= MOST_SIZE, name, f"at most {MOST_SIZE}", getattr(self, name))
        for name in ("image", "head_channels"):
            _require(max(getattr(self, name)) <= MOST_SIZE, name, f"at most {MOST_SIZE}", getattr(self, name))
        for task in self.tasks:
            _require(task.channels <= MOST_SIZE, f"channels of task {task.name}", f"at most {MOST_SIZE}", task.channels)
        _require(self.depth <= MOST_BLOCKS, "depth", f"at most {MOST_BLOCKS}", self.depth)
        _require(len(self.tasks) <= MOST_TASKS, "tasks", f"at most {MOST_TASKS}", len(self.tasks))
        stages = len(self.head_channels)
        _require(stages <= MOST_STAGES, "head_channels", f"at most {MOST_STAGES} stages", stages)

    def _check_experts(self) -> None:
        rule = f"a tuple of increasing block indices below depth ({self.depth})"
        blocks = self.moe_blocks
        ordered = _is_ints(blocks, 0) and list(blocks) == sorted(set(blocks)) and blocks[-1] < self.depth
        _require(ordered, "moe_blocks", rule, blocks)
        for name in ("experts", "top_k", "expert_hidden"):
            _require(_is_int(getattr(self, name), 1), name, "a positive integer", getattr(self, name))
            _require(getattr(self, name) <= MOST_SIZE, name, f"at most {MOST_SIZE}", getattr(self, name))
        _require(self.top_k <= self.experts, "top_k", f"at most experts ({self.experts})", self.top_k)
        prune = _is_finite(self.expert_prune) and 0 <= self.expert_prune < 1
        _require(prune, "expert_prune", "a number of at least 0 and below 1", self.expert_prune)

    def _check_routing(self) -> None:
        _require(self.routing in ROUTINGS, "routing", f"one of {', '.join(ROUTINGS)}", self.routing)
        window = self.routing == "window"
        size = self.experts_per_task
        bounds = f"from top_k ({self.top_k}) to experts ({self.experts})"
        ok = _is_int(size, self.top_k) and size <= self.experts if window else size == 0
        _require(ok, "experts_per_task", bounds if window else "0 unless routing is window", size)
        rules = {"task_conditioned": "a positive integer", "window": "an integer of at least 0"}
        rule = rules.get(self.routing, "0 unless routing is task_conditioned or window")
        low = int(self.routing == "task_conditioned")
        ok = _is_int(self.task_embedding, low) and (self.routing in rules or self.task_embedding == 0)
        _require(ok, "task_embedding", rule, self.task_embedding)
        _require(self.task_embedding <= MOST_SIZE, "task_embedding", f"at most {MOST_SIZE}", self.task_embedding)
        _require(isinstance(self.gate_input_ahead, bool), "gate_input_ahead", "true or false", self.gate_input_ahead)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image[0] // self.patch, self.image[1] // self.patch

    @property
    def tokens(self) -> int:
        """Tokens per image, the class token included where there is one."""
        return self.grid[0] * self.grid[1] + int(self.class_token)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks in the order of their gates."""
        return tuple(task.name for task in self.tasks)

    def task_index(self, name: str) -> int:
        """Position of the task called `name`; raises `ConfigError` for a name the model does not have."""
        _require(name in self.task_names, "task", f"one of {', '.join(self.task_names)}", name)
        return self.task_names.index(name)

    def window(self, task: int) -> tuple[int, int] | None:
        """First expert and number of experts of task `task`, None where all experts are open to it.

        The windows are evenly spaced: start = int(i * (E - n) / (T - 1)).
        """
        if self.routing != "window":
            return None
        spare, last = self.experts - self.experts_per_task, max(len(self.tasks) - 1, 1)
        return task * spare // last, self.experts_per_task

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON types from which `from_json` makes an equal config."""
        plain = asdict(self)
        plain["tasks"] = list(plain["tasks"])
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ModelConfig":
        """The config `to_json` described, a field that is left out at its default.

        Raises `ConfigError` naming unknown fields, and missing ones that have no default.
        """
        values = _values(cls, "model config", data)
        rows = values["tasks"]
        objects = isinstance(rows, tuple) and all(isinstance(row, dict) for row in rows)
        _require(objects, "tasks", "a list of objects", rows)
        return cls(**{**values, "tasks": tuple(TaskSpec(**_values(TaskSpec, "task", row)) for row in rows)})


class ConfigDialect(Dialect):
    """Descriptions are written by hand: messages say which fields there are, and what a misspelt one may mean."""

    def describe_missing(self, field: Field, missing: Sequence[str], required: Sequence[str], must: str) -> str:
        rule = f"{field.place} must have the fields {', '.join(required)}"
        return f"{rule}, and {', '.join(missing)} is missing; `export --print-config demo` shows them all"

    def describe_unknown(self, field: Field, name: str, names: Sequence[str]) -> str:
        meant = nearest(name, names)
        hint = f"did you mean {meant!r}?" if meant else f"the fields are {', '.join(names)}"
        return f"{field.place} must not have a field {name!r}, which there is not; {hint}"


DIALECT = ConfigDialect(group="a JSON object", has_defaults=True)


def _values(kind: type, what: str, data: object) -> dict[str, Any]:
    """The fields of a description by name, lists as tuples; what they must be, the dataclass checks itself."""
    entries = members(kind, Field(what, data, DIALECT))
    return {name: tuple(v.value) if isinstance(v.value, list) else v.value for name, v in entries.items()}
