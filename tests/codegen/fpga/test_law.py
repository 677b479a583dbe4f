"""Random networks on several engines: a segment leaves the bits that the law makes of the same integer steps."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.codegen.fpga.builder import Net
from tests.codegen.fpga.draws import encoders, heads
from tests.codegen.fpga.rig import ENGINES, compile_and_check, engines

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize("engine", ENGINES)
@settings(suppress_health_check=SLOW)
@given(net=encoders())
def test_encoders(engine: str, net: Net) -> None:
    program = compile_and_check(net.steps, net.image, engines()[engine])
    assert [len(task.segments) for task in program.tasks] == [1]


@pytest.mark.parametrize("engine", ENGINES)
@settings(suppress_health_check=SLOW)
@given(net=heads())
def test_heads(engine: str, net: Net) -> None:
    program = compile_and_check(net.steps, net.image, engines()[engine])
    assert [len(task.segments) for task in program.tasks] == [1]
