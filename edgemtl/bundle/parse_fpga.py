"""The program of an FPGA from JSON."""

from __future__ import annotations

from edgemtl.bundle.fields import Field
from edgemtl.bundle.fpga import FpgaProgram, FpgaTask, Handover, Host, LeftStep
from edgemtl.bundle.parse_host import read_host_step
from edgemtl.bundle.parse_program import read_output, read_program, read_weight
from edgemtl.bundle.parse_segment import read_segment
from edgemtl.bundle.values import MAX_BYTES, MAX_COUNT, read_integers, read_texts
from edgemtl.hw.fields import read_table
from edgemtl.hw.isa import REGIONS
from edgemtl.hw.spec import AcceleratorSpec, check_spec
from edgemtl.processor import HOSTS

ON_CHIP = (*REGIONS, "ring", "routing")
DIGEST_DIGITS = 16


def read_fpga_program(field: Field) -> FpgaProgram:
    """The program of an FPGA. Raises ConfigError, and ResourceError for a board whose engine does not fit it."""
    device, precision, board, engine, share, on_chip, parameters, hosts, constants, size, tasks = field.members(
        "device",
        "precision",
        "board",
        "engine",
        "share",
        "on_chip",
        "parameters_bytes",
        "hosts",
        "constants",
        "constants_bytes",
        "tasks",
    )
    return FpgaProgram(
        device.choice("fpga"),
        precision.choice("int8"),
        _board(board),
        _digest(engine),
        share.number(0, 1),
        {name.choice(*ON_CHIP): size.integer(0, MAX_BYTES) for name, size in _pairs(on_chip)},
        parameters.integer(0, MAX_BYTES),
        tuple(_host(item) for item in hosts.items()),
        tuple(read_weight(item) for item in constants.items()),
        size.integer(0, MAX_BYTES),
        {name: _task(item, name) for name, item in tasks.entries().items()},
    )


def _pairs(field: Field) -> list[tuple[Field, Field]]:
    return [(Field(f"{field.place}.{key}", key), value) for key, value in field.entries().items()]


def _board(field: Field) -> AcceleratorSpec:
    field.entries()
    spec = read_table(AcceleratorSpec, field.value, field.place)
    check_spec(spec, field.place)
    return spec


def _digest(field: Field) -> str:
    text = field.text()
    if len(text) != DIGEST_DIGITS or not set(text) <= set("0123456789abcdef"):
        field.fail(f"{DIGEST_DIGITS} lower-case hexadecimal digits")
    return text


def _host(field: Field) -> Host:
    named, cpu, weights, tensors, handovers = field.members("name", "cpu", "weights", "tensors", "handovers")
    name = named.choice(*HOSTS)
    return Host(
        name,
        read_program(cpu, f"program/host_{name}.so"),
        weights.choice(f"program/host_{name}.bin"),
        tuple(read_weight(item) for item in tensors.items()),
        {task: tuple(_handover(item) for item in held.items()) for task, held in handovers.entries().items()},
    )


def _handover(field: Field) -> Handover:
    step, inputs, outputs = field.members("step", "inputs", "outputs")
    return Handover(step.integer(0, MAX_COUNT), read_integers(inputs, MAX_BYTES), read_integers(outputs, MAX_BYTES))


def _task(field: Field, name: str) -> FpgaTask:
    steps, output, host, segments, left = field.members("steps", "output", "host", "segments", "left")
    return FpgaTask(
        steps.integer(1, MAX_COUNT),
        read_output(output),
        tuple(read_host_step(item) for item in host.items()),
        tuple(read_segment(item, f"streams/{name}/{index}") for index, item in enumerate(segments.items())),
        tuple(_left(item) for item in left.items()),
    )


def _left(field: Field) -> LeftStep:
    origin, kind, reason = field.members("origin", "kind", "reason")
    return LeftStep(read_texts(origin), kind.text(), reason.text())
