"""One segment: neighbouring groups of steps as one instruction stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgemtl import operators as ops
from edgemtl.bundle import Routing, SegmentLayer, Windows
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.attention import emit_attention
from edgemtl.codegen.fpga.emit import Tensor
from edgemtl.codegen.fpga.experts import emit_experts
from edgemtl.codegen.fpga.layers import emit_mlp, emit_norm, emit_patch, load_norm_constants
from edgemtl.codegen.fpga.pictures import emit_picture
from edgemtl.codegen.fpga.place import Placement, place
from edgemtl.codegen.fpga.routing import early_of, load_route_constants
from edgemtl.codegen.fpga.site import ExpertOrder, Site, Stored
from edgemtl.codegen.fpga.tokens import Tokens, synchronise
from edgemtl.codegen.fpga.words import Listing, Parameters, Word
from edgemtl.errors import ConfigError
from edgemtl.hw.encoding import encode, encode_stream
from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.regions import capacities
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import View
from edgemtl.schedule.tiling import Limits


@dataclass(frozen=True)
class BoardSegment:
    """A stream and what must lie in the board's memory when it runs; sizes in bytes.

    layer: for each instruction, the index of its layer. inputs and outputs: rows in the windows of those names.
    early: of each router, the experts fetched before it decides. routing: of each, its tokens, choices and experts.
    """

    stream: bytes = field(repr=False)
    layers: tuple[SegmentLayer, ...]
    layer: tuple[int, ...] = field(repr=False)
    inputs: tuple[Stored, ...]
    outputs: tuple[Stored, ...]
    windows: Windows
    placement: Placement
    ring_bytes: int
    early: tuple[tuple[int, ...], ...] = ()
    routing: tuple[Routing, ...] = ()

    @property
    def on_chip(self) -> dict[str, int]:
        """Bytes by memory: regions as planned, the ring, and the routing table."""
        used = {region: plan.arena_bytes for region, plan in self.placement.plans.items()}
        table = max((4 * router.tokens * router.top_k + 8 * router.experts for router in self.routing), default=0)
        return used | {"ring": self.ring_bytes, "routing": table}


def write_segment(
    groups: Sequence[networks.Group],
    engine: Engine,
    limits: Limits,
    parameters: Parameters,
    incoming: Sequence[View],
    outgoing: frozenset[str],
    experts: ExpertOrder,
    what: str,
) -> BoardSegment:
    """The stream of ``groups``.

    Raises BudgetError where memory on chip is too small, ConfigError where an operand's bits are too few.
    """
    listing = Listing(engine, limits.ring_lines, parameters)
    site = Site(listing, limits, experts, outgoing)
    inputs = [_reserve_input(site, view, groups) for view in incoming]
    _emit_groups(site, groups)
    words = listing.words
    placement = place(words, capacities(engine), engine.array_columns, what)
    sizes = {name: size // engine.array_columns for name, size in capacities(engine).items()}
    tokens = synchronise(words, sizes, placement.addresses)
    layers = tuple(describe(group) for group in groups)
    stream = encode_stream(_instructions(words, placement, tokens, layers), engine, limits.ring_lines)
    mixtures = [group for group in groups if isinstance(group, networks.Experts)]
    return BoardSegment(
        stream=stream,
        layers=layers,
        layer=tuple(word.layer for word in words),
        inputs=tuple(inputs),
        outputs=tuple(held for held in site.stored.values() if held.window == "output"),
        windows=Windows(**site.sizes),
        placement=placement,
        ring_bytes=(limits.ring_lines + limits.cache_lines) * LINE_BYTES,
        early=tuple(early_of(site, group) for group in mixtures),
        routing=tuple(_describe_routing(group.router.operator) for group in mixtures),
    )


def _reserve_input(site: Site, view: View, groups: Sequence[networks.Group]) -> Stored:
    """Rows lie in whole lines each; pixels of an image without gaps, since its rows are whole lines."""
    width = view.shape[-1]
    row = emit.granules(site.listing, width) * site.listing.engine.array_columns * view.itemsize
    image = any(isinstance(group, networks.Picture) and group.source.buffer == view.buffer for group in groups)
    lines = row if image else -(-row // LINE_BYTES) * LINE_BYTES
    return site.reserve(view.buffer, "input", view.size // width, width, view.dtype, lines)


def _emit_groups(site: Site, groups: Sequence[networks.Group]) -> None:
    """Every group's words, with the constants of the next one fetched before: they are there when it begins."""
    constants = _load_constants(site, groups[0])
    for index, group in enumerate(groups):
        following = None
        if index + 1 < len(groups):
            site.listing.layer = index + 1
            following = _load_constants(site, groups[index + 1])
        site.listing.layer = index
        _emit_group(site, group, constants)
        _keep_outgoing(site, group)
        constants = following


def _load_constants(site: Site, group: networks.Group) -> Tensor | None:
    if isinstance(group, networks.Norm):
        return load_norm_constants(site, group)
    if isinstance(group, networks.Experts):
        return load_route_constants(site, group)
    return None


def _emit_group(site: Site, group: networks.Group, constants: Tensor | None) -> None:
    match group:
        case networks.Patch():
            emit_patch(site, group)
        case networks.Norm():
            emit_norm(site, group, constants)
        case networks.Attention():
            emit_attention(site, group)
        case networks.Mlp():
            emit_mlp(site, group)
        case networks.Experts():
            assert constants is not None
            emit_experts(site, group, constants)
        case networks.Picture():
            emit_picture(site, group, group.source.buffer in site.homes)


def _keep_outgoing(site: Site, group: networks.Group) -> None:
    for step in networks.steps_of(group):
        for view in step.outputs:
            if view.buffer in site.outgoing and view.buffer not in site.stored:
                site.keep(view)


def _instructions(
    words: Sequence[Word], placement: Placement, tokens: Tokens, layers: Sequence[SegmentLayer]
) -> list[Instruction]:
    """Raises ConfigError with the layer's node where an operand's bits are too few."""
    made = []
    for word, waits, signals in zip(words, tokens.waits, tokens.signals, strict=True):
        operands = dict(word.operands)
        for name, at in word.places.items():
            address = placement.addresses[at.buffer.name] + at.granule
            operands |= emit.place_operands(name, at.buffer.region, address)
        instruction = Instruction(word.name, operands, waits, signals)
        try:
            encode(instruction)
        except ConfigError as error:
            nodes, hint = ", ".join(layers[word.layer].origin), "make the layer smaller, or compile for a CPU"
            raise ConfigError(f"{nodes}: no instruction can hold it; {error}; {hint}") from error
        made.append(instruction)
    return made


def _describe_routing(router: ops.QRouter) -> Routing:
    return Routing(router.tokens, router.top_k, router.experts)


def describe(group: networks.Group) -> SegmentLayer:
    """A group as a layer of a report."""
    steps = networks.steps_of(group)
    # Of the array: the vector unit combines.
    macs = sum(step.operator.macs for step in steps if not isinstance(step.operator, ops.QCombine))
    origin = tuple(dict.fromkeys(node for step in steps for node in step.origin))
    return SegmentLayer(type(group).__name__.lower(), origin, macs)
