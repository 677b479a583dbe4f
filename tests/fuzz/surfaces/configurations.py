"""What describes a model to export: the JSON file of `--config`, M3ViT's yaml files, and the flags of its trainer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from edgemtl.exporters.build import ModelSource, build_model
from edgemtl.exporters.upstream_flags import NO_EFFECT, NO_EFFECT_SWITCHES, NUMBERS, SWITCHES, WORDS
from tests.fuzz.judge import Surface
from tests.fuzz.mutate import ROUNDS, change_bytes, change_json, change_lines
from tests.support.models import small_config

YAML = """
setup: multi_task
train_db_name: NYUD
model: baseline
backbone: VisionTransformer_moe
backbone_kwargs:
  img_size: [64, 96]
  patch_size: 16
  in_chans: 3
  embed_dim: 48
  depth: 2
  num_heads: 2
  mlp_ratio: 4.
  qkv_bias: True
  distilled: False
  moe_mlp_ratio: 1
  moe_top_k: 2
head: VisionTransformerUpHead
head_kwargs:
  embed_dim: 48
  img_size: [64, 96]
  num_conv: 4
  upsampling_method: bilinear
  num_upsampe_layer: 4
task_dictionary:
  include_semseg: True
  include_depth: True
"""
BOMBS = (
    "a: &a [x]\nb: [*a, *a]\n",
    "&a [*a]",
    "a: !!python/object/apply:os.system [x]",
    "? ? ? ?",
    "- " * 5000,
    "%YAML 9.9\n--- x",
)
WORDS_AFTER = ("True", "False", "1", "0", "-1", "16", "99999999999999999999", "x", "", "1.5", "'", "nan")


def draw_flags(rng: Random) -> str:
    """A command line of the trainer."""
    names = (*SWITCHES, *NUMBERS, *WORDS, *NO_EFFECT, *NO_EFFECT_SWITCHES, "unknown", "")
    return " ".join(f"--{rng.choice(names)} {rng.choice(WORDS_AFTER)}" for _ in range(rng.choice((*ROUNDS, 8))))


def change_yaml(rng: Random) -> bytes:
    """A yaml file with lines or bytes changed, or one that stands for much more than it is."""
    chance = rng.random()
    if chance < 0.2:
        return (rng.choice(BOMBS) if rng.random() < 0.5 else doubled()).encode()
    return change_bytes(YAML.encode(), rng) if chance < 0.4 else change_lines(YAML, rng, ":").encode()


def doubled() -> str:
    """Thirty lists, each twice the one before."""
    lists = [f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 30)]
    return "\n".join(["l0: &l0 [x, x]", *lists])


def prepare(folder: Path) -> Callable[[int], str]:
    """A model of random weights from a changed description."""
    document = json.loads(json.dumps(small_config().to_json()))

    def act(seed: int) -> str:
        rng = Random(seed)
        flags = draw_flags(rng) if rng.random() < 0.3 else None
        if rng.random() < 0.5:
            path = folder / "changed.json"
            path.write_text(change_json(document, rng), errors="surrogatepass")
            source = ModelSource(seed=0, config=path, upstream_flags=flags)
        else:
            path = folder / "changed.yml"
            path.write_bytes(change_yaml(rng))
            source = ModelSource(seed=0, upstream_config=path, upstream_flags=flags)
        return f"{len(build_model(source).model.config.tasks)} tasks"

    return act


SURFACE = Surface("configurations of models", prepare)
