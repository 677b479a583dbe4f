"""Train the demo model: python -m examples.rooms.train.

Renders the scenes, trains M3ViT-demo, measures it on held-out scenes and leaves checkpoint, results and
card in the folder given by --out.  With --dense it trains the baseline instead, for as many steps, and
adds its results to the same card.  An interrupted run goes on where it last saved.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import fields
from pathlib import Path

import torch

from edgemtl.errors import EdgemtlError
from examples.rooms.data import TRAIN_SEED, cached_pool
from examples.rooms.publish import publish
from examples.rooms.trainer import Options, Trainer


def main() -> None:
    """Command line: where things are kept, and every field of `Options`."""
    parser = argparse.ArgumentParser(description="Train the demo model on rendered rooms.")
    parser.add_argument("--out", type=Path, default=Path("out/train"), help="folder of checkpoint, results and card")
    parser.add_argument("--cache", type=Path, default=Path("out/rooms"), help="folder of the rendered scenes")
    parser.add_argument("--stop", type=int, default=0, help="stop after this many steps of the schedule")
    for field in fields(Options):
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    options = Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})
    try:
        run(options, arguments.out, arguments.cache, arguments.stop or options.steps)
    except EdgemtlError as error:
        raise SystemExit(f"error: {error}") from None


def run(options: Options, out: Path, cache: Path, stop: int) -> None:
    """Render, train up to step ``stop`` and, at the end of the schedule, publish."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    started = time.time()
    pool = cached_pool(cache, TRAIN_SEED, options.scenes, options.threads)
    print(f"{len(pool)} scenes after {time.time() - started:.0f} s", flush=True)
    trainer = Trainer(options, pool)
    state_file = out / f"{options.name}.pt"
    if state_file.exists():
        trainer.load(state_file)
    trainer.run(state_file, stop)
    if trainer.step == options.steps:
        publish(trainer, out)


if __name__ == "__main__":
    main()
