"""The flags of M3ViT's trainer (`train_fastmoe.py`): what they say of a model that its checkpoint does not."""

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

from edgemtl.errors import ConfigError, UnsupportedError
from edgemtl.exporters.models.config import ModelConfig

PRUNE_THRESHOLD = 0.1
"""Scores below it become 0 (`custom_moe_layer.py`, `prune_threshold`)."""

SWITCHES = (
    "one_by_one",
    "task_one_hot",
    "multi_gate",
    "regu_experts_fromtask",
    "gate_input_ahead",
    "regu_sem",
    "sem_force",
    "expert_prune",
)
NUMBERS = ("moe_experts", "moe_mlp_ratio", "moe_top_k", "gate_task_specific_dim", "num_experts_pertask")
WORDS = ("moe_gate_arch", "moe_gate_type")
NO_EFFECT = (
    *("config_env", "config_exp", "gpus", "launcher", "local_rank", "seed", "trBatch", "valBatch", "vmoe_noisy_std"),
    *("backbone_random_init", "pretrained", "moe_noisy_gate_loss_weight", "pos_emb_from_pretrained", "lr", "ckp"),
    *("save_dir", "semregu_loss_weight", "warmup_epochs", "epochs", "regu_subimage", "subimageregu_weight", "opt"),
    *("multi_level", "weight_decay", "tam_level0", "tam_level1", "tam_level2", "resume"),
)
"""Flags of training and of its evaluation; they do not change what a trained model computes."""
NO_EFFECT_SWITCHES = ("deterministic", "moe_data_distributed", "eval", "flops", "time")

HINT = "edgemtl cannot import this model; train without the flag"


class Flags(NamedTuple):
    """The flags that were given and matter, by name, and a note on those that do not matter."""

    given: dict[str, Any]
    notes: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        flag = message.removeprefix("unrecognized arguments: ")
        if flag != message:
            reason = "edgemtl does not know it as a flag of M3ViT's trainer"
            raise UnsupportedError(f"--upstream-flags {flag}", reason, "check its spelling, written in full")
        raise UnsupportedError("--upstream-flags", message, "give flags as to train_fastmoe.py")


def parse_flags(text: str) -> Flags:
    """What flags say, written as on the trainer's command line.

    Raises `UnsupportedError` for a flag that is unknown, malformed, or asks for what edgemtl does not have.
    """
    parser = _Parser(prog="train_fastmoe.py", add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for name in SWITCHES:
        parser.add_argument(f"--{name}", type=_truth)
    for name in NUMBERS:
        parser.add_argument(f"--{name}", type=int)
    for name in (*WORDS, *NO_EFFECT):
        parser.add_argument(f"--{name}")
    for name in NO_EFFECT_SWITCHES:
        parser.add_argument(f"--{name}", action="store_true")
    given = vars(parser.parse_args(_split(text)))
    unused = [f"--{name}" for name in given if name in (*NO_EFFECT, *NO_EFFECT_SWITCHES)]
    matter = {name: value for name, value in given.items() if f"--{name}" not in unused}
    _refuse_foreign(matter)
    return Flags(matter, (f"without effect on a trained model: {', '.join(unused)}",) if unused else ())


def apply_flags(config: ModelConfig, given: Mapping[str, Any]) -> ModelConfig:
    """The config with what the given flags say in place of what it says.

    Raises `UnsupportedError` for flags that upstream cannot run together or whose result would depend on how it is
    called, `ConfigError` for numbers that make no sense.
    """
    if not config.moe_blocks:
        return config
    flags = {**_implied(config), **given}
    _refuse_together(flags)
    ratio = given.get("moe_mlp_ratio")
    prune = config.expert_prune if "expert_prune" not in given else PRUNE_THRESHOLD * given["expert_prune"]
    values = dict(experts=flags["moe_experts"], top_k=flags["moe_top_k"], expert_prune=prune)
    values |= dict(expert_hidden=config.expert_hidden if ratio is None else _hidden(config, ratio))
    try:
        return replace(config, **values, **_routing(flags), gate_input_ahead=flags["gate_input_ahead"])
    except ConfigError as error:
        raise ConfigError(f"--upstream-flags must describe a model: {error}") from error


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UnsupportedError("--upstream-flags", f"{error}", "give flags as on a command line") from error


def _truth(text: str) -> bool:
    """As the trainer reads it (`str2bool`)."""
    if text.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if text.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"must be True or False, not {text!r}")


def _refuse_foreign(given: Mapping[str, Any]) -> None:
    for name in ("regu_sem", "sem_force"):
        if given.get(name):
            raise UnsupportedError(f"--{name} True", "segmentation maps as an input of gates are not implemented", HINT)
    if given.get("moe_gate_arch"):
        raise UnsupportedError("--moe_gate_arch", "a network of its own as the gate is not implemented", HINT)
    kind = given.get("moe_gate_type", "noisy_vmoe")
    if kind != "noisy_vmoe":
        raise UnsupportedError(f"--moe_gate_type {kind}", "it must be noisy_vmoe, the gate that upstream can run", HINT)


def _refuse_together(flags: Mapping[str, Any]) -> None:
    window, known = flags["regu_experts_fromtask"], flags["gate_task_specific_dim"] >= 0
    if flags["multi_gate"] and known:
        reason = "upstream's gates then expect a task embedding that they are not given"
        raise UnsupportedError("--multi_gate True with --gate_task_specific_dim", reason, "give the one it has")
    if flags["multi_gate"] and window:
        reason = "upstream's gates then choose among all experts, and are moved by the window afterwards"
        raise UnsupportedError("--multi_gate True with --regu_experts_fromtask True", reason, "give the one it has")
    if window and not known and not flags["task_one_hot"]:
        reason = "upstream's trainer then tells the gate no task, and the windows are not used"
        hint = "add --task_one_hot True if the tasks were run one by one, or leave it out"
        raise UnsupportedError("--regu_experts_fromtask True without --task_one_hot True", reason, hint)


def _implied(config: ModelConfig) -> dict[str, Any]:
    """The flags that describe a config."""
    return {
        "moe_experts": config.experts,
        "moe_top_k": config.top_k,
        "multi_gate": config.routing == "multi_gate",
        "task_one_hot": config.routing in ("task_conditioned", "window"),
        "regu_experts_fromtask": config.routing == "window",
        "num_experts_pertask": config.experts_per_task,
        "gate_task_specific_dim": config.task_embedding or -1,
        "gate_input_ahead": config.gate_input_ahead,
    }


def _routing(flags: Mapping[str, Any]) -> dict[str, Any]:
    embedding = max(flags["gate_task_specific_dim"], 0)
    if flags["multi_gate"]:
        return dict(routing="multi_gate", experts_per_task=0, task_embedding=0)
    if flags["regu_experts_fromtask"]:
        return dict(routing="window", experts_per_task=flags["num_experts_pertask"], task_embedding=embedding)
    routing = "task_conditioned" if embedding else "single_gate"
    return dict(routing=routing, experts_per_task=0, task_embedding=embedding)


def _hidden(config: ModelConfig, ratio: int) -> int:
    """Upstream takes a negative ratio for that of the dense MLP."""
    return config.mlp_hidden if ratio < 0 else config.dim * ratio
