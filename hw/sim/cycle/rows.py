"""The softmax, vector and router units: one instruction at a time, each a number of cycles."""

from __future__ import annotations

from edgemtl.hw.sim.cycle.instructions import Timed
from edgemtl.hw.sim.cycle.kernel import Kernel
from edgemtl.hw.sim.cycle.ports import InputPorts
from edgemtl.hw.sim.cycle.tally import Recorder, Tally


class RowUnit:
    """One of the three."""

    def __init__(self, unit: str, kernel: Kernel, recorder: Recorder, ports: InputPorts) -> None:
        self._unit, self._kernel, self._recorder, self._ports = unit, kernel, recorder, ports
        self._free = 0

    def wake(self, now: float) -> None:
        """Begin the next instruction if it may."""
        while now >= self._free and self._begin(int(now)):
            pass

    def standing(self) -> str | None:
        """None: these units wait for credits only."""
        return None

    def _begin(self, now: int) -> bool:
        head = self._kernel.ready(self._unit)
        granted = self._kernel.granted(head[0]) if head else None
        if head is None or granted is None:
            return False
        (instruction, since), (token, source) = head, granted
        assert isinstance(instruction.work, Timed)
        self._kernel.take(instruction, now)
        tally = Tally(max(self._free, self._kernel.begins[instruction.frame]))
        tally.stand("queue", since)
        tally.stand(f"tokens:{source}", token)
        self._free = now + instruction.work.cycles
        if instruction.work.port_writes:
            self._ports.write(now, self._free, instruction.work.port_writes)
        tally.work(self._free)
        self._recorder.add(instruction, now, self._free, tally)
        self._kernel.finish(instruction, self._free)
        self._kernel.at(self._free, self.wake)
        return True
