"""Libraries: their steps, their bytes, the processors they are for and the threads they run on."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm_ffi

from edgemtl.errors import UnsupportedError
from edgemtl.operators import (
    Attention,
    Combine,
    Concat,
    Experts,
    LayerNorm,
    Linear,
    PatchEmbed,
    Router,
)
from edgemtl.processor import CpuTarget, resolve
from edgemtl.tvm_bridge import build
from edgemtl.tvm_bridge.build import WEIGHTS_WORDS, Argument, EntryFunction, KernelCall, build_library, compile_entries
from edgemtl.tvm_bridge.kernel import Kernel
from edgemtl.tvm_bridge.kernels import attention, combine, concat, experts, layernorm, linear, patch_embed, router
from tests.tvm_bridge.harness import ALL_TARGETS, Arena, aligned, call, normal, on_targets, run, targets, with_threads

SPEC = Linear(4, 16, 16, "", False)


def kernels(target: CpuTarget) -> list[Kernel]:
    """One kernel of each family, of sizes that use tails everywhere."""
    return [
        attention.build(Attention(17, 3, 20, 0.2), target),
        combine.build(Combine(7, 2, 20, True), target),
        experts.build(Experts(7, 2, 3, 10, 100, True, "gelu"), target),
        layernorm.build(LayerNorm(7, 33, 1e-6), target),
        linear.build(Linear(13, 20, 200, "silu", True), target),
        patch_embed.build(PatchEmbed(3, 12, 20, 4, 40, 1), target),
        router.build(Router(7, 5, 2, (0, 2, 3), True, 0.1), target),
    ]


def every_kernel(target: CpuTarget) -> EntryFunction:
    """An entry that calls them all; every operand at the same place, so it is not for running."""
    spaces = {WEIGHTS_WORDS: WEIGHTS_WORDS}
    calls = [
        KernelCall(k, tuple(Argument(spaces.get(o.role, "arena"), 0) for o in k.operands)) for k in kernels(target)
    ]
    return EntryFunction("main", tuple(calls), {"arena": 1 << 20})


@pytest.mark.parametrize("name", ALL_TARGETS)
def test_the_same_entries_give_the_same_bytes(name: str) -> None:
    target = resolve(name)
    first = build_library([every_kernel(target)], target)
    for family in (attention, combine, experts, layernorm, linear, patch_embed, router):
        family.build.cache_clear()
    assert build_library([every_kernel(target)], target) == first
    assert first[:4] == b"\x7fELF"
    assert int.from_bytes(first[18:20], "little") == (183 if name == "cpu-a53" else 62)


@pytest.mark.parametrize(("name", "register"), [("cpu-avx512", "%zmm"), ("cpu-avx2", "%ymm")])
def test_register_tiles_use_whole_vectors(name: str, register: str, tmp_path: Path) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    target = resolve(name)
    arena = Arena(linear.build(Linear(48, 64, 128, "", False), target), {})
    (tmp_path / "l.so").write_bytes(build_library([arena.entry()], target))
    code = subprocess.run(["objdump", "-d", "l.so"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    sums = [line for line in code.splitlines() if "vfmadd" in line and "ps" in line]
    assert len(sums) >= 12
    assert all(register in line for line in sums)


def two_steps(target: CpuTarget) -> tuple[EntryFunction, np.ndarray]:
    """x -> y -> z in the arena, both with one kernel; x, y and z are 256 bytes each, weights in their own space."""
    kernel = linear.build(SPEC, target)
    weight, bias = linear.pack(SPEC, target, 2 * np.eye(16, dtype=np.float32), np.ones(16, np.float32))
    calls = [
        KernelCall(
            kernel,
            (
                Argument("arena", at),
                Argument("weights", 0),
                Argument("weights", 1024),
                Argument("arena", at + 256),
            ),
        )
        for at in (0, 256)
    ]
    return EntryFunction("run", tuple(calls), {"arena": 768, "weights": 1088}), np.concatenate([weight, bias])


@pytest.mark.parametrize(
    ("begin", "end", "y", "z"), [(0, 2, 3, 7), (0, 1, 3, 0), (1, 2, 0, 1), (0, 0, 0, 0), (-5, 99, 3, 7)]
)
def test_a_range_of_steps(begin: int, end: int, y: int, z: int, tmp_path: Path) -> None:
    target = targets()[0]
    entry, held = two_steps(target)
    (tmp_path / "p.so").write_bytes(build_library([entry], target))
    library = tvm_ffi.load_module(str(tmp_path / "p.so"))
    arena, weights = aligned(768, 0), aligned(1088, 0)
    arena[:256].view(np.float32)[:] = 1
    weights[: held.nbytes] = held.view(np.uint8)
    empty = tvm_ffi.from_dlpack(aligned(1))
    library["run"](tvm_ffi.from_dlpack(arena), tvm_ffi.from_dlpack(weights), empty, empty, empty, begin, end)
    assert set(arena[256:512].view(np.float32)) == {y}
    assert set(arena[512:].view(np.float32)) == {z}


WITHOUT_TVM = """
import ctypes, importlib.util, sys
from pathlib import Path
import numpy as np, tvm_ffi
folder = Path(importlib.util.find_spec("tvm").origin).parent
ctypes.CDLL(str(folder / "lib" / "libtvm_runtime.so"), ctypes.RTLD_GLOBAL)
raw = np.zeros(4096 + 64, np.uint8)
arena = raw[-raw.ctypes.data % 64:][:4096]
empty = tvm_ffi.from_dlpack(np.zeros(1, np.uint8))
arena[:256].view(np.float32)[:] = 1
arena[1024:2048].view(np.float32).reshape(16, 16)[:] = np.eye(16)
tvm_ffi.load_module(sys.argv[1])["main"](tvm_ffi.from_dlpack(arena), empty, empty, empty, empty, 0, 1)
assert (arena[3072:3328].view(np.float32) == 1).all() and "tvm" not in sys.modules
"""


def test_a_library_runs_without_the_compiler(tmp_path: Path) -> None:
    target = targets()[0]
    places = tuple(Argument("arena", at) for at in (0, 1024, 2048, 3072))
    entry = EntryFunction("main", (KernelCall(linear.build(SPEC, target), places),), {"arena": 4096})
    (tmp_path / "p.so").write_bytes(build_library([entry], target))
    subprocess.run([sys.executable, "-c", WITHOUT_TVM, str(tmp_path / "p.so")], check=True)


def test_two_kernels_of_one_symbol_are_refused() -> None:
    target = targets()[0]
    first = linear.build(SPEC, target)
    second = linear.build(Linear(4, 16, 16, "relu", False), target)
    places = tuple(Argument("arena", 0) for _ in range(4))
    renamed = Kernel(first.symbol, second.operands, second.function)
    with pytest.raises(ValueError, match="the symbol linear_4x16x16 must name one kernel, not two"):
        compile_entries(
            [EntryFunction("e", (KernelCall(first, places), KernelCall(renamed, places)), {"arena": 4096})], target
        )


def test_a_missing_linker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"g\+\+ is not installed; apt-get install g\+\+-aarch64"):
        build_library([], resolve("cpu-a53"))


@on_targets(2)
def test_one_thread_and_two_give_the_same_bits(target: CpuTarget) -> None:
    for kernel, arrays in threaded_cases(target):
        arena = Arena(kernel, arrays)
        function = compile_entries([arena.entry()], target)["main"]

        def work(function: object = function, kernel: Kernel = kernel, arrays: dict = arrays) -> list[bytes]:
            fresh = Arena(kernel, arrays)
            call(function, fresh)  # type: ignore[arg-type]
            return [array.tobytes() for array in fresh.outputs().values()]

        assert with_threads(1, work) == with_threads(2, work)


def threaded_cases(target: CpuTarget) -> list[tuple[Kernel, dict[str, np.ndarray]]]:
    """Kernels whose work is shared between threads, with arrays they can run on."""
    routes = {
        "tokens": np.arange(66, dtype=np.int32) // 2,
        "offsets": np.array([0, 20, 66], np.int32),
        "slots": np.arange(66, dtype=np.int32).reshape(33, 2),
    }
    spec = Experts(33, 2, 2, 10, 200, True, "gelu")
    packed = [experts.pack_expert(spec, target, normal(10, 200, seed=e), normal(200)) for e in range(2)]
    held = routes | {
        "table": np.array([0, packed[0].size], np.int32),
        "weights": np.concatenate(packed),
    }
    built = [
        (attention.build(Attention(65, 3, 20, 0.2), target), {}),
        (combine.build(Combine(33, 2, 20, True), target), routes),
        (experts.build(spec, target), held),
        (layernorm.build(LayerNorm(33, 100, 1e-6), target), {}),
        (linear.build(Linear(33, 20, 200, "gelu", True), target), {}),
        (patch_embed.build(PatchEmbed(3, 24, 20, 4, 40, 1), target), {}),
    ]
    return [(kernel, _complete(kernel, arrays)) for kernel, arrays in built]


def _complete(kernel: Kernel, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays a kernel reads: those given, the rest random."""
    given = {o.name: arrays[o.name] for o in kernel.operands if o.name in arrays}
    missing = {o.name: o.shape for o in kernel.operands if o.role in ("input", "weight") and o.name not in arrays}
    return given | {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(missing.items())}


def test_parts_do_not_change_bits() -> None:
    for cut in zip(*(threaded_cases(resolve("cpu", threads)) for threads in (1, 3)), strict=True):
        one, three = (run(kernel, resolve("cpu"), **arrays) for kernel, arrays in cut)
        assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in three.items()}


def test_a_kernel_of_many_operands_has_a_short_symbol_of_its_own() -> None:
    symbols = {concat.build(Concat(1, (10,) * 400 + (last,)), resolve("cpu")).symbol for last in (1, 2)}
    assert len(symbols) == 2
    assert max(map(len, symbols)) <= 512
