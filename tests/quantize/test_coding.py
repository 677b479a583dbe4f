"""Weights in 4 bits in whole networks: which layers have them, what they are rounded for, and that programs obey."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgemtl import operators as ops
from edgemtl.codegen.cpu import compile_cpu
from edgemtl.codegen.cpu.coded import with_codes as as_codes
from edgemtl.codegen.cpu.compile import plan_cpu
from edgemtl.codegen.fpga.compile import compile_segments
from edgemtl.errors import ConfigError, UnsupportedError, UsageError
from edgemtl.frontend import MultiTaskModel, read_model
from edgemtl.hw.spec import read_spec
from edgemtl.lowering.execute import run_steps
from edgemtl.lowering.ir import INPUT, CodedConstant, Constant, Lowered, Step, dense, make_step
from edgemtl.operators import Frame
from edgemtl.options import CheckOptions, CompileOptions, QuantiseOptions
from edgemtl.partition import TaskModel, partition
from edgemtl.processor import resolve
from edgemtl.quantize import apply, read_parameters, write_parameters
from edgemtl.quantize.coding import check_rules, find_coded, with_codes
from edgemtl.quantize.moments import InputMoments, experts_of, observe_moments
from edgemtl.quantize.quantise import calibrate, keep_scales, measure_sqnr
from edgemtl.quantize.quantised_model import Quantised, quantise
from tests.codegen.fpga.rig import check
from tests.codegen.harness import Machine
from tests.support.frames import smooth_frames
from tests.support.models import build_and_export, small_config
from tests.support.processors import on_each

RULES = (("experts", 4), ("linear", 4))
OPTIONS = QuantiseOptions(weights=RULES, least_sqnr_db=5.0)
CONFIG = small_config(head_channels=(12, 8, 6))
Sample = tuple[MultiTaskModel, tuple[TaskModel, ...], Quantised, list[Frame]]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Two tasks with experts and linear layers in 4 bits, and the images: twelve they were made on, and two more."""
    model = read_model(build_and_export(CONFIG, 1, tmp_path_factory.mktemp("coded"))[1])
    images = smooth_frames(model.inputs[0], 14)
    tasks = partition(model, [task.name for task in model.tasks], "exact")
    return model, tasks, quantised_by(OPTIONS, model, tasks, images), images


def quantised_by(
    options: QuantiseOptions, model: MultiTaskModel, tasks: tuple[TaskModel, ...], images: list[Frame]
) -> Quantised:
    named = {str(i): image for i, image in enumerate(images[:12])}
    return quantise(model, tasks, resolve("cpu-avx2"), named, options)


def coded_names(quantised: Quantised, task: str, rules: tuple[tuple[str, int], ...]) -> set[str]:
    floats, integer = quantised.floats[task], quantised.integers[task]
    return {integer.steps[index].origin[0] for index in find_coded(floats, integer, rules)}


def test_rules_choose_layers_and_the_last_one_counts(sample: Sample) -> None:
    *_, quantised, _ = sample
    floats = quantised.floats["depth"]
    kinds = {kind: {s.origin[0] for s in floats if isinstance(s.operator, kind)} for kind in (ops.Linear, ops.Experts)}
    (gate,) = {s["logits"].buffer for s in floats if isinstance(s.operator, ops.Router)}
    (gate_name,) = {s.origin[0] for s in floats if s.result.buffer == gate and isinstance(s.operator, ops.Linear)}
    dense = kinds[ops.Linear] - {gate_name}
    assert len(dense) >= 6
    assert coded_names(quantised, "depth", (("experts", 4),)) == kinds[ops.Experts]
    assert coded_names(quantised, "depth", (("linear", 4),)) == dense
    assert coded_names(quantised, "depth", RULES) == dense | kinds[ops.Experts]
    assert coded_names(quantised, "depth", ((gate_name, 4),)) == {gate_name}
    one = sorted(dense)[0]
    assert coded_names(quantised, "depth", (("linear", 4), (one, 8))) == dense - {one}
    assert coded_names(quantised, "depth", ((one, 8), ("linear", 4))) == dense


def test_a_rule_that_fits_nothing_is_refused(sample: Sample) -> None:
    *_, quantised, _ = sample
    norm = next(s.origin[0] for s in quantised.floats["depth"] if isinstance(s.operator, ops.LayerNorm))
    for pattern in ("nothing*", norm):
        with pytest.raises(UsageError, match=r"--weights must name linear layers or experts, .* fits none"):
            check_rules(quantised.floats, (("experts", 4), (pattern, 4)))


def test_moments_are_of_what_each_weight_meets(sample: Sample) -> None:
    """Against the inputs of the int8 program itself, which differ by its own rounding upstream."""
    model, tasks, _, images = sample
    quantised = quantised_by(QuantiseOptions(), model, tasks, images)
    integer, floats = quantised.integers["depth"], quantised.floats["depth"]
    chosen = find_coded(floats, integer, RULES)
    seen = observe_moments(floats, integer, chosen, images[:6])
    sums: dict[str, np.ndarray] = {}
    rows: dict[str, int] = {}

    def watch(index: int, values: ops.Values, outputs: object) -> None:
        step = integer.steps[index]
        if index not in chosen:
            return
        x, tensor = values["x"], integer.tensors[step["x"].buffer]
        parts = [x]
        if isinstance(step.operator, ops.QExperts):
            x = x[values["tokens"]] if step.operator.gather else x
            parts = np.split(x, values["offsets"][1:-1])
        for expert, part in enumerate(parts):
            key = step.constant("weight", expert if isinstance(step.operator, ops.QExperts) else None).key
            real = (part.astype(float) - tensor.zero) * tensor.scale
            sums[key] = sums.get(key, 0) + real.T @ real
            rows[key] = rows.get(key, 0) + len(part)

    for image in images[:6]:
        run_steps(integer.steps, image, watch)
    assert set(sums) == set(seen)
    assert sum(rows.values()) == sum(of.rows for of in seen.values())
    # A token near a tie of the router may go to another expert.
    off = {key: np.linalg.norm(sums[key] - seen[key].total) / np.linalg.norm(sums[key]) for key in sums}
    assert max(off.values()) < 0.25
    assert max(off[key] for key in off if rows[key] >= 36) < 0.03


def test_moments_of_nothing_take_every_input_alike() -> None:
    assert (InputMoments(np.zeros((3, 3)), 0).damped() == np.eye(3)).all()
    few = InputMoments(np.outer([1.0, 2.0], [1.0, 2.0]), 1).damped()
    assert np.linalg.eigvalsh(few).min() > 0


def test_tasks_share_their_codes_and_every_weight_is_within_its_group(sample: Sample) -> None:
    *_, quantised, _ = sample
    coded = quantised.parameters.coded
    constants = [
        c
        for task in quantised.integers.values()
        for s in task.steps
        for c in s.constants
        if isinstance(c, CodedConstant)
    ]
    assert len({c.key for c in constants}) <= len(coded) < len(constants)
    assert all((c.coded.expand() == c.array).all() for c in constants)
    note = next(n for n in quantised.notes if "weights in 4 bits" in n)
    assert note.startswith(f"{len(coded)} weights in 4 bits, ")


def test_rounding_for_the_inputs_keeps_the_outputs_near(sample: Sample) -> None:
    """Within 12 dB of int8, where weights lose 24 dB: errors of 8 columns of codes instead of 128."""
    _, tasks, quantised, images = sample
    for task in tasks:
        name = task.task.name
        assert measure_sqnr(quantised.floats[name], quantised.integers[name], images[12:]) > 12


TARGETS = [resolve(name, 3) for name in ("cpu-avx512-vnni", "cpu-avx512", "cpu-avx2")]


@on_each(TARGETS)
def test_programs_give_the_bits_of_the_law(sample: Sample, target: object) -> None:
    _, tasks, quantised, images = sample
    program = compile_cpu(tasks, target, memory_budget=None, integers=quantised.integers)  # type: ignore[arg-type]
    machine = Machine(program)
    for image in images[12:]:
        for name, task in quantised.integers.items():
            np.testing.assert_array_equal(machine.run(name, image).reshape(-1), run_steps(task.steps, image))


def test_codes_take_half_the_bytes_and_compute_the_same(sample: Sample) -> None:
    *_, quantised, images = sample
    task = quantised.integers["depth"]
    codes = as_codes(Lowered("depth", task.steps)).steps
    layers = [step.operator for step in codes if isinstance(step.operator, ops.QLinear | ops.QExperts)]
    assert sum(operator.coded for operator in layers) == len(layers) - 1  # all but the gate
    np.testing.assert_array_equal(run_steps(codes, images[0]), run_steps(task.steps, images[0]))
    sizes = [
        sum(c.array.nbytes for s in steps for c in s.constants if c.name.rsplit(".")[-1] in ("int4", "multipliers"))
        for steps in (task.steps, codes)
    ]
    assert sizes[1] < 0.56 * sizes[0]


def test_the_file_of_parameters_gives_the_same_integers(sample: Sample, tmp_path: Path) -> None:
    *_, quantised, _ = sample
    path = tmp_path / "m.json"
    write_parameters(path, quantised.parameters, quantised.floats)
    parameters = read_parameters(path, quantised.parameters.model, quantised.floats)
    again = apply(quantised.floats, parameters)
    for name, task in quantised.integers.items():
        assert again[name].steps == task.steps
        codes = [
            [c.coded.codes.tobytes() for s in t.steps for c in s.constants if isinstance(c, CodedConstant)]
            for t in (again[name], task)
        ]
        assert codes[0] == codes[1]


DAMAGE = [
    ("codes", "AAAA", "must be weights in 4 bits: rows, columns, codes and multipliers"),
    ("codes", "A", "must be bytes in base64"),
    ("codes", 3, "must be bytes in base64"),
    ("rows", 0, "must be an integer from 1"),
]


@pytest.mark.parametrize(("field", "value", "text"), DAMAGE)
def test_damaged_codes_are_refused(sample: Sample, tmp_path: Path, field: str, value: object, text: str) -> None:
    *_, quantised, _ = sample
    path = tmp_path / "m.json"
    write_parameters(path, quantised.parameters, quantised.floats)
    document = json.loads(path.read_text())
    next(iter(document["coded"].values()))[field] = value
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=text):
        read_parameters(path, quantised.parameters.model, quantised.floats)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ([["experts", 3]], "must be one of 4, 8"),
        ([["experts"]], "must be a layer and the bits of its weights"),
        ([[3, 4]], "must be a text"),
    ],
)
def test_damaged_rules_are_refused(sample: Sample, tmp_path: Path, rules: object, text: str) -> None:
    *_, quantised, _ = sample
    path = tmp_path / "m.json"
    write_parameters(path, quantised.parameters, quantised.floats)
    document = json.loads(path.read_text())
    document["weights"] = rules
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=text):
        read_parameters(path, quantised.parameters.model, quantised.floats)


def test_codes_of_other_weights_are_refused(sample: Sample) -> None:
    *_, quantised, _ = sample
    few = dict(list(quantised.parameters.coded.items())[1:])
    with pytest.raises(ConfigError, match=r"parameters must hold the 4-bit weights of .* make the file again"):
        apply(quantised.floats, replace(quantised.parameters, coded=few))


def test_a_sum_that_could_leave_int32_is_refused(sample: Sample) -> None:
    *_, quantised, _ = sample
    task, floats = quantised.integers["depth"], quantised.floats["depth"]
    index = min(find_coded(floats, task, (("linear", 4),)))
    step = task.steps[index]
    bias = step.constant("bias")
    large = step.with_constant("bias", replace(bias, array=np.full_like(bias.array, 2**31 - 1)))
    steps = (*task.steps[:index], large, *task.steps[index + 1 :])
    weight = step.constant("weight")
    assert isinstance(weight, CodedConstant)
    with pytest.raises(UnsupportedError, match=r"a sum can reach .* keep its weights at 8 bits"):
        with_codes(replace(task, steps=steps), frozenset({index}), {weight.key: weight.coded})


def test_boards_store_codes(sample: Sample) -> None:
    """The accelerator runs the same steps as in int8, from fewer bytes, to the bits of the expanded weights."""
    *_, quantised, images = sample
    spec = read_spec("zcu104")
    steps = {name: task.steps for name, task in quantised.integers.items()}
    in_int8 = {name: tuple(map(as_int8, task)) for name, task in steps.items()}
    coded, plain = (compile_segments(each, spec) for each in (steps, in_int8))
    assert len(coded.parameters) < len(plain.parameters)
    for name in steps:
        ours, theirs = (next(t.left for t in program.tasks if t.task == name) for program in (coded, plain))
        assert ours == theirs
    check(coded, steps, images[-1])


def as_int8(step: Step) -> Step:
    """The step with the same weights, stored as int8."""
    for expert in experts_of(step) if step.has_constant("weight") else ():
        weight = step.constant("weight", expert)
        step = step.with_constant("weight", Constant(weight.name, weight.array), expert)
    return step


def test_a_quantised_model_keeps_its_weights() -> None:
    views = {"x": dense(f"{INPUT}image", (4,)), "y": dense("x", (4,), "int8")}
    rounding = {"t": [make_step(ops.Quantise(4, "int8", 1.0, 0), views, {})]}
    text = "--weights must be given with a float model, not with one that is quantised already"
    with pytest.raises(UsageError, match=text):
        keep_scales("m", "exact", rounding, OPTIONS)
    with pytest.raises(UsageError, match=text):
        calibrate("m", "exact", rounding, [], OPTIONS)


def test_options_that_contradict_are_refused() -> None:
    with pytest.raises(UsageError, match="--weights experts must have 4 or 8 bits, not 3"):
        QuantiseOptions(weights=(("experts", 3),))
    with pytest.raises(UsageError, match="--sqnr-target must come without --weights"):
        QuantiseOptions(weights=RULES, sqnr_target=20.0)
    with pytest.raises(UsageError, match="and --weights must come with --precision int8"):
        CompileOptions(quantise=OPTIONS)
    with pytest.raises(UsageError, match="--keep-float and --weights: the file says them"):
        CheckOptions(precision="int8", parameters=Path("m.json"), weights=RULES)


def test_a_plan_counts_the_workspaces(sample: Sample) -> None:
    _, tasks, quantised, _ = sample
    target = resolve("cpu-avx2")
    coded = plan_cpu(tasks, target, memory_budget=None, integers=quantised.integers)
    assert any(buffer.name.endswith(".expanded") for buffer in coded.buffers)
