"""A checkpoint of several processes: a folder of `0.pth`, `1.pth` .., experts split over the files in order.

Source: M3ViT `utils/moe_utils.py`, `save_moe_model_to_dir`: rank 0 writes all it has, the others their experts.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from edgemtl.errors import CheckpointError
from edgemtl.exporters.pickles import read_pickle
from edgemtl.exporters.state_dicts import State, find_state

EXPERTS = re.compile(r".*\.mlp\.experts\.(htoh4|h4toh)\.\w+")


def read_rank_files(folder: Path) -> State:
    """The state dict of a folder, each expert tensor joined along its first axis in the order of the ranks.

    Raises `CheckpointError` for files that are missing or not of the kind, for experts that some rank lacks or has in
    another number, and for a parameter that ranks share and disagree about.
    """
    paths = _rank_paths(folder)
    ranks = [find_state(path, read_pickle(path)) for path in paths]
    merged = dict(ranks[0].values)
    for path, rank in zip(paths[1:], ranks[1:], strict=True):
        _check_shared(path, paths[0], rank.values, ranks[0].values)
    split = [name for name in merged if EXPERTS.fullmatch(name)]
    merged |= {name: _join(paths, [rank.values[name] for rank in ranks], name) for name in split}
    return State(merged, (*ranks[0].notes, _describe(paths, [merged[name] for name in split])))


def rank_count(path: Path) -> int:
    """Files of a checkpoint that is a folder; 1 for a file."""
    return len(_rank_paths(path)) if path.is_dir() else 1


def _rank_paths(folder: Path) -> list[Path]:
    names = sorted(entry.name for entry in folder.iterdir())
    ranks = sorted(int(name.removesuffix(".pth")) for name in names if re.fullmatch(r"(0|[1-9]\d{0,4})\.pth", name))
    others = [name for name in names if "pth" in name and name not in {f"{rank}.pth" for rank in ranks}]
    rule = f"checkpoint folder {folder} must hold a .pth file for each rank, 0.pth, 1.pth .., and no other"
    if not ranks or others:
        raise CheckpointError(
            f"{rule}, not {', '.join((others or names)[:6]) or 'none'}; name the file, or give --layout"
        )
    if ranks != list(range(len(ranks))):
        missing = next(rank for rank in range(len(ranks)) if rank not in ranks)
        raise CheckpointError(f"{rule}; {missing}.pth is missing")
    return [folder / f"{rank}.pth" for rank in ranks]


def _check_shared(path: Path, first_path: Path, values: Mapping[str, object], first: Mapping[str, object]) -> None:
    absent = [name for name in first if EXPERTS.fullmatch(name) and name not in values]
    added = [name for name in values if name not in first]
    if absent or added:
        faults = [f"missing {', '.join(absent)}"] * bool(absent) + [f"not there {', '.join(added)}"] * bool(added)
        raise CheckpointError(f"{path} must hold the experts that {first_path.name} has; {'; '.join(faults)}")
    shared = [name for name in values if not EXPERTS.fullmatch(name)]
    differ = [name for name in shared if not _equal(values[name], first[name])]
    if differ:
        rule = f"{path} must agree with {first_path.name} in what both hold"
        raise CheckpointError(f"{rule}, and differs in {', '.join(differ)}; take files of one and the same save")


def _equal(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.layout == b.layout and torch.equal(a, b)
    return type(a) is type(b) and a == b


def _join(paths: list[Path], parts: list[object], name: str) -> Tensor:
    for path, part in zip(paths, parts, strict=True):
        if not isinstance(part, Tensor) or part.layout != torch.strided or part.ndim == 0:
            raise CheckpointError(f"{name} in {path} must be a dense tensor with a row an expert")
    tensors = [part for part in parts if isinstance(part, Tensor)]
    kinds = {(tuple(t.shape), t.dtype) for t in tensors}
    if len(kinds) > 1:
        shapes = ", ".join(f"{list(t.shape)} {t.dtype}" for t in tensors)
        raise CheckpointError(f"{name} must have as many experts in every file of {paths[0].parent}, not {shapes}")
    return torch.cat(tensors)


def _describe(paths: list[Path], experts: list[object]) -> str:
    rows = [value.shape[0] for value in experts if isinstance(value, Tensor)]
    names = ", ".join(path.name for path in paths)
    if len(paths) == 1 or not rows:
        return f"read {names}"
    return f"joined {names}: {rows[0] // len(paths)} of {rows[0]} experts from each, in this order"
