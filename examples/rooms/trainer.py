"""Training: one step on all tasks, the schedule, averaged weights, and a state that survives interruption."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgemtl.errors import UsageError
from edgemtl.exporters.models import M3ViT, preset
from examples.rooms.data import Pool
from examples.rooms.fast import speed_up
from examples.rooms.labels import CLASSES
from examples.rooms.losses import TASK_WEIGHTS, class_weights, task_losses, to_batch

_LAST_RATE: Final = 0.01
_CLASS_SAMPLE: Final = 1000
_LOG_EVERY: Final = 50
_SAVE_EVERY: Final = 250


@dataclass(frozen=True)
class Options:
    """One training run.

    The learning rate warms up over ``warmup`` steps, follows a cosine laid out for ``horizon`` steps, and
    over the last ``cooldown`` of ``steps`` goes down to 1% in a straight line.  ``balance``, ``information``,
    ``margin`` and ``size`` weigh the gates' losses, ``ema`` is the decay of the averaged weights.
    """

    steps: int = 3100
    horizon: int = 5200
    cooldown: int = 600
    batch: int = 16
    scenes: int = 20_000
    rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: int = 200
    balance: float = 0.01
    information: float = 0.1
    margin: float = 0.02
    size: float = 0.001
    ema: float = 0.995
    seed: int = 0
    threads: int = 2
    dense: bool = False

    @property
    def name(self) -> str:
        """What the run is called in file names and results."""
        return "dense" if self.dense else "moe"


@dataclass
class Spent:
    """Time used by training: wall clock, CPU of all threads, wall clock a step in the fastest 50 steps."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    fastest_step_s: float = math.inf


class Trainer:
    """Model, optimiser, averaged weights and random state of one run; ``save`` and ``load`` keep them all."""

    def __init__(self, options: Options, pool: Pool) -> None:
        torch.manual_seed(options.seed)
        self.options, self.pool = options, pool
        self.rng = np.random.default_rng(options.seed)
        overrides: dict[str, Any] = {"moe_blocks": ()} if options.dense else {}
        self.model = M3ViT(preset("demo", **overrides))
        _order_channels_last(self.model)
        speed_up(self.model)
        self.average = _copy_state(self.model)
        self.optimiser = _optimiser(self.model, options)
        self.class_weights = class_weights(np.asarray(pool.classes[:_CLASS_SAMPLE]), len(CLASSES))
        self.step = 0
        self.order: NDArray[np.intp] = np.empty(0, np.intp)
        self.spent = Spent()

    def run(self, state_file: Path, stop: int) -> None:
        """Train up to step ``stop``, saving now and then."""
        while self.step < stop:
            losses = self._run_window(min(_LOG_EVERY - self.step % _LOG_EVERY, stop - self.step))
            spent = f"{self.spent.wall_s:.0f} s (CPU {self.spent.cpu_s:.0f} s)"
            print(f"step {self.step} {spent} " + " ".join(f"{k} {v:.4f}" for k, v in losses.items()), flush=True)
            if self.step % _SAVE_EVERY == 0 or self.step == stop:
                self.save(state_file)

    def _run_window(self, steps: int) -> dict[str, float]:
        """Train ``steps`` steps and keep the time; returns their mean losses."""
        started, cpu_started = time.time(), time.process_time()
        rows = [self.train_step() for _ in range(steps)]
        wall_s = time.time() - started
        self.spent.wall_s += wall_s
        self.spent.cpu_s += time.process_time() - cpu_started
        if steps == _LOG_EVERY:
            self.spent.fastest_step_s = min(self.spent.fastest_step_s, wall_s / steps)
        return {name: sum(row[name] for row in rows) / steps for name in rows[0]}

    def train_step(self) -> dict[str, float]:
        """One step on all tasks; returns the unweighted losses and the gradient's norm."""
        options = self.options
        batch = to_batch(self.pool.take(self._next_scenes()), self.rng.random(options.batch) < 0.5)
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = self.model.forward_all(batch.image.contiguous(memory_format=torch.channels_last))
            gates = self.model.gate_losses()._asdict()
        losses = task_losses(outputs, batch, self.class_weights)
        total = sum(TASK_WEIGHTS[task] * loss for task, loss in losses.items())
        total += sum(getattr(options, name) * loss for name, loss in gates.items())
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward([total])
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate * rate_factor(self.step, options)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return {name: float(value.detach()) for name, value in {**losses, **gates, "norm": norm}.items()}

    def _next_scenes(self) -> NDArray[np.intp]:
        if len(self.order) < self.options.batch:
            self.order = self.rng.permutation(len(self.pool))
        index, self.order = np.sort(self.order[: self.options.batch]), self.order[self.options.batch :]
        return index

    def _update_average(self) -> None:
        """Exponential average of parameters and BatchNorm statistics, with a short memory at the start."""
        decay = min(self.options.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
                else:
                    self.average[name].copy_(value)

    def averaged_model(self) -> M3ViT:
        """A model with the averaged weights, for evaluation."""
        model = M3ViT(self.model.config)
        model.load_state_dict(self.average)
        return model.eval()

    def save(self, path: Path) -> None:
        """Write the whole state; a reader sees the old file or the new one, never half of one."""
        state = {
            "options": asdict(self.options),
            "step": self.step,
            "spent": asdict(self.spent),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "order": torch.from_numpy(self.order),
            "rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Take up the state of a run with the same options."""
        state = torch.load(path, weights_only=True)
        if state["options"] != asdict(self.options):
            raise UsageError(f"{path} must hold a run with the same options, not {state['options']}; change --out")
        self.step, self.spent = state["step"], Spent(**state["spent"])
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.order = state["order"].numpy()
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch_rng"])


def rate_factor(step: int, options: Options) -> float:
    """Share of the full learning rate at ``step``: warm-up, cosine, then a straight line down to 1%."""
    turn = max(options.warmup, options.steps - options.cooldown)
    left = min(1.0, (options.steps - step) / max(1, options.steps - turn))
    decayed = _LAST_RATE + (_cosine(min(step, turn), options) - _LAST_RATE) * max(0.0, left)
    return min((step + 1) / options.warmup, decayed)


def _cosine(step: int, options: Options) -> float:
    progress = max(0, step - options.warmup) / max(1, options.horizon - options.warmup)
    return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _copy_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _order_channels_last(model: nn.Module) -> None:
    """Store convolution kernels the way the CPU's kernels read them; values stay the same."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def _optimiser(model: M3ViT, options: Options) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices and kernels only: not on gates, positions, norms and biases."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        spared = parameter.ndim < 2 or name.endswith((".bias", ".w_gate", "pos_embed"))
        (free if spared else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": options.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, options.rate, betas=(0.9, 0.98), fused=True)
