"""The card of the demo model, written from its measured results: python -m examples.rooms.card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
Results = dict[str, Any]

_COLUMNS: Final = (
    ("mIoU", "semseg", "miou", "{:.3f}"),
    ("RMSE (m)", "depth", "rmse", "{:.3f}"),
    ("delta < 1.25", "depth", "delta1", "{:.3f}"),
    ("mean angle (deg)", "normals", "mean_angle", "{:.2f}"),
    ("edge F (1 px)", "edges", "f_score", "{:.3f}"),
)
_NAMES: Final = {"moe": "M3ViT-demo", "dense": "dense ViT, equal active MACs and steps"}


def render(results: Results) -> str:
    """The whole card as Markdown."""
    parts = (
        _HEAD,
        _quality(results),
        _classes(results),
        _costs(results),
        _training(results),
        _experts(results),
        _TAIL,
    )
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _quality(results: Results) -> str:
    answers = {_NAMES[name]: record["scores"] for name, record in results["models"].items()}
    answers["best constant answer"] = results["constant"]
    rows = [
        [name, *(style.format(scores[task][metric]) for _, task, metric, style in _COLUMNS)]
        for name, scores in answers.items()
    ]
    count = results["scenes"]["held_out"][1]
    return f"## Quality on {count} held-out scenes\n\n" + _table(["", *(c[0] for c in _COLUMNS)], rows) + _QUALITY_NOTE


def _classes(results: Results) -> str:
    models = results["models"]
    names = list(next(iter(models.values()))["class_iou"])
    rows = [[_NAMES[m], *(f"{record['class_iou'][n]:.3f}" for n in names)] for m, record in models.items()]
    return "Intersection over union by class:\n\n" + _table(["", *names], rows)


def _costs(results: Results) -> str:
    rows = [
        [
            _NAMES[name],
            f"{record['parameters']:,}",
            f"{record['bytes'] / 1e6:.2f}",
            f"{sum(record['macs'].values()) / 1e6:.1f}",
            f"{record['spent']['wall_s'] / 60:.1f}",
            f"{record['spent']['cpu_s'] / 60:.1f}",
            f"{record['spent']['fastest_step_s']:.3f}",
        ]
        for name, record in results["models"].items()
    ]
    head = [
        "",
        "parameters",
        "file (MB)",
        "MMAC per task",
        "training, wall (min)",
        "CPU (min)",
        "fastest 50 steps (s/step)",
    ]
    return "## Cost\n\n" + _table(head, rows) + _COST_NOTE


def _training(results: Results) -> str:
    record = next(iter(results["models"].values()))
    o, scenes = record["options"], results["scenes"]
    return f"""## Data and training

`examples/rooms/render.py` renders the scenes; `default_rng(n)` draws scene *n*. Training uses
scenes {scenes["train"]}-{scenes["train"] + o["scenes"] - 1}, this report {_span(scenes["held_out"])}, the
tuning of the edge threshold {_span(scenes["threshold"])}, the choice of the constant answer
{_span(scenes["constant"])}.

Seed {o["seed"]}, {o["steps"]:,} steps of {o["batch"]} scenes, all four tasks in each step, random mirroring,
bfloat16 autocast. AdamW at {o["rate"]} (betas 0.9, 0.98; weight decay {o["weight_decay"]}, none on gates,
positions, norms and biases), gradients clipped to norm 1; {o["warmup"]} steps of warm-up, a cosine laid out
for {o["horizon"]:,} steps, cooled down linearly to 1% over the last {o["cooldown"]}.
Losses: cross-entropy weighted by frequency^-1/2; depth L1 plus half the L1 of its slopes; 2 x (1 - cosine)
for normals; cross-entropy for edges with positives weighted 4. Gates: balance (importance and load, over all
tasks together) weighted {o["balance"]}, distance of information from log 2 {o["information"]}, missing margin
{o["margin"]}, size of logits {o["size"]} (docs/adr/0005); noise of deviation 1/8. The final weights are an
exponential average ({o["ema"]}) over the steps.
"""


def _span(first_and_count: Sequence[int]) -> str:
    first, count = first_and_count
    return f"{first}-{first + count - 1}"


def _experts(results: Results) -> str:
    record = results["models"].get("moe")
    if record is None:
        return ""
    parts = ["## Use of the experts", _EXPERTS_NOTE]
    layers = zip(record["moe_blocks"], record["expert_shares"], record["expert_overlap"], strict=True)
    for block, layer, overlap in layers:
        rows = [[task, *(f"{100 * share:.1f}" for share in shares)] for task, shares in layer.items()]
        experts = range(len(rows[0]) - 1)
        parts.append(_table([f"block {block}, share in %", *(f"expert {e}" for e in experts)], rows))
        parts.append(_pairs("Total variation between tasks", layer, _distances(list(layer.values()))))
        parts.append(_pairs("Share of a token's experts that two tasks have in common", layer, overlap))
        counts = ", ".join(f"{task} {_experts_for(shares)}" for task, shares in layer.items())
        parts.append(f"Experts that get 95% of the choices: {counts}.\n")
    return "\n".join(parts)


def _experts_for(shares: Sequence[float], target: float = 0.95) -> int:
    """The fewest experts that together hold the ``wanted`` share."""
    total = 0.0
    for count, share in enumerate(sorted(shares, reverse=True), 1):
        total += share
        if total >= target:
            return count
    return len(shares)


def _distances(shares: list[list[float]]) -> list[list[float]]:
    """Total variation between every two rows."""
    return [[sum(abs(p - q) for p, q in zip(a, b, strict=True)) / 2 for b in shares] for a in shares]


def _pairs(title: str, names: Iterable[str], values: list[list[float]]) -> str:
    """One line with the value of every pair of names."""
    pairs = combinations(enumerate(names), 2)
    return f"{title}: {', '.join(f'{a}-{b} {values[i][j]:.2f}' for (i, a), (j, b) in pairs)}.\n"


_HEAD: Final = """# M3ViT-demo

A small multi-task mixture-of-experts vision transformer, trained on rendered rooms. Blocks 1, 3 and 5 of its 6 blocks
have one gate per task and eight experts, two per token. `m3vit_demo.safetensors` contains float32 weights and the
model's configuration; `edgemtl.exporters.checkpoints.load_checkpoint` reads it.

| task | output | meaning |
| --- | --- | --- |
| semseg | 8 x 96 x 128 | logits of floor, wall, ceiling, box, sphere, cylinder, table, picture |
| depth | 1 x 96 x 128 | z-depth in metres |
| normals | 3 x 96 x 128 | surface normal, any length; camera frame, x right, y down, z forward |
| edges | 1 x 96 x 128 | logit; positive is an edge |

Input: RGB, 3 x 96 x 128, (value / 255 - 0.5) / 0.25.
"""
_QUALITY_NOTE: Final = """
Lower is better for RMSE and angle. RMSE and delta are over depth in metres. An edge pixel matches within one pixel,
and edge counts are over all scenes together. The constant answer is the best one for each metric. Each model was
trained with one seed, so such small differences do not rank them: at this size and length of training the mixture shows
no gain in quality over the dense model.
"""
_COST_NOTE: Final = """
MACs are those of the task with the most (semseg), counting the experts that a token uses. The dense baseline runs its
trunk once for all four tasks, also in training, so equal steps cost it less. Training times were measured on two
cores, on different machines, without rendering. Other work ran during the dense run, so its wall time is too long. CPU
minutes are the training's own over both threads; the fastest 50 steps come closest to the speed of free cores.
"""
_EXPERTS_NOTE: Final = """
The tables show the share of a task's routed tokens that each expert gets on the held-out scenes; 12.5% would be even.
Training asks the gates to use experts evenly over all tasks together, but differently from task to task, so tasks
settle on some experts of their own and share others.

Below each table, the second line compares two tasks: the part of a token's two experts that both choose (chance is
0.25). The third line says how many experts get 95% of a task's choices.
"""
_TAIL: Final = """## Limits

The model was trained only on rendered scenes. On photographs the outputs are plausible at best, and depth in metres
means nothing. Thin parts such as table legs are coarser than the label, since a token covers 8 x 8 pixels. Boxes and
cylinders are the weakest classes.

## Photograph

`photo.jpg` is `coffee.png` from scikit-image (skimage.data.coffee), photographed by Rachel Michetti,
courtesy of Pikolo Espresso Bar, CC0: no copyright restrictions. It shows the model outside its domain.
"""


def main() -> None:
    """Rewrite CARD.md from results.json beside this file."""
    results = json.loads((HERE / "results.json").read_text())
    (HERE / "CARD.md").write_text(render(results))


if __name__ == "__main__":
    main()
