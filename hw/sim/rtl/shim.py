"""The C++ between a translated module and Python: one call drives many cycles."""

from __future__ import annotations

from collections.abc import Sequence

from edgemtl.hw.sim.rtl.ports import Port

CLOCK = "clk"
"""The port that `drive` clocks; it is not among the inputs that a caller gives."""


def shim(top: str, ports: Sequence[Port]) -> str:
    """Source of a library with ``create``, ``drive`` and ``destroy``.

    ``drive`` takes the inputs of each cycle as bytes, port after port, settles the module, takes the outputs down, and
    then lets the clock rise: outputs are those of the same cycle as the inputs.
    """
    copies: dict[bool, list[str]] = {True: [], False: []}
    for port in ports:
        if port.name != CLOCK:
            move = "std::memcpy(&top.{0}, in, {1}); in += {1};" if port.is_input else _TAKE
            copies[port.is_input].append("    " + move.format(port.name, port.bytes))
    clocked = any(port.name == CLOCK for port in ports)
    edge = ["    top.clk = 1;", "    top.eval();", "    top.clk = 0;"] if clocked else []
    return "\n".join(
        [
            f'#include "V{top}.h"',
            '#include "verilated.h"',
            "#include <cstdint>",
            "#include <cstring>",
            "namespace {",
            "struct Model {",
            "  VerilatedContext context;",
            f"  V{top} top;",
            "  explicit Model(int seed) : context(), top((context.randReset(2), context.randSeed(seed), &context)) {",
            "    context.fatalOnError(false);  // else Verilator ends the process",
            *(["    top.clk = 0;"] if clocked else []),
            "    top.eval();",
            "  }",
            "};",
            "}",
            'extern "C" {',
            "void *create(int seed) { return new Model(seed); }",
            "void destroy(void *model) { auto *m = static_cast<Model *>(model); m->top.final(); delete m; }",
            "int drive(void *model, const std::uint8_t *in, std::uint8_t *out, std::uint64_t cycles) {",
            "  auto &m = *static_cast<Model *>(model);",
            "  auto &top = m.top;",
            "  for (std::uint64_t cycle = 0; cycle < cycles && !m.context.gotFinish(); ++cycle) {",
            *copies[True],
            "    top.eval();",
            *copies[False],
            *edge,
            "  }",
            "  return m.context.gotError() || m.context.gotFinish();",
            "}",
            "}",
            "",
        ]
    )


_TAKE = "std::memcpy(out, &top.{0}, {1}); out += {1};"
