"""The ports of a module, as Verilator's header of it declares them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

PORT: Final = re.compile(r"VL_(IN|OUT)(8|16|64|W|)\(&(\w+),(\d+),(\d+)(?:,\d+)?\);")
BYTES: Final = {"8": 1, "16": 2, "": 4, "64": 8}


@dataclass(frozen=True)
class Port:
    """``bits`` of one port; ``bytes``: what its C++ variable takes."""

    name: str
    is_input: bool
    bits: int
    bytes: int


def ports_of(header: str) -> tuple[Port, ...]:
    """The ports that the header of a top module declares, in its order."""
    ports = []
    for direction, kind, name, high, low in PORT.findall(header):
        bits = int(high) - int(low) + 1
        ports.append(Port(name, direction == "IN", bits, BYTES.get(kind, 4 * -(-bits // 32))))
    return tuple(ports)
