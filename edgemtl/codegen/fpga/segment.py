"""One segment: neighbouring groups of steps as one instruction stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgemtl import operators as ops
from edgemtl.bundle import Routing, SegmentLayer, Windows
from edgemtl.codegen.fpga import emit, networks
from edgemtl.codegen.fpga.attention import emit_attention
from edgemtl.codegen.fpga.chunks import emit_chunks, fit_whole
from edgemtl.codegen.fpga.class_maps import emit_classes
from edgemtl.codegen.fpga.convolutions import emit_image, image_runs
from edgemtl.codegen.fpga.credits import Credits, synchronise
from edgemtl.codegen.fpga.emit import OnChipTensor
from edgemtl.codegen.fpga.enlarging import emit_resize
from edgemtl.codegen.fpga.experts import emit_experts
from edgemtl.codegen.fpga.instructions import Listing, ParameterWindow, PendingInstruction
from edgemtl.codegen.fpga.place import Placement, RegionFull, place
from edgemtl.codegen.fpga.pointwise import emit_add, emit_concat, emit_map, emit_mean, emit_rescale
from edgemtl.codegen.fpga.routing import load_route_constants
from edgemtl.codegen.fpga.rows import emit_layers, emit_norm, emit_patch, load_norm_constants
from edgemtl.codegen.fpga.site import Crossing, ExpertOrder, Site, Stored
from edgemtl.errors import BudgetError, ConfigError, EdgemtlError
from edgemtl.hw.checker import check_stream
from edgemtl.hw.encoding import Stream, check_instruction, encode_stream
from edgemtl.hw.isa import LINE_BYTES, Instruction
from edgemtl.hw.regions import capacities
from edgemtl.hw.spec import Engine
from edgemtl.lowering.ir import View
from edgemtl.schedule.tiling import TilingLimits


@dataclass(frozen=True)
class BoardSegment:
    """A stream and what must be in DRAM when it runs; sizes in bytes.

    layer: for each instruction, the index of its layer. inputs, outputs: rows in the windows of these names. routing:
    tokens, choices and experts of each list of the router. early: the prefetch list of each.
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


class UnfitGroup(Exception):
    """A group that the accelerator has no room or no instruction for: its index in the segment, and the error.

    ``freed``: buffers of the steps that would free room if they were spilled.
    """

    def __init__(self, index: int, error: EdgemtlError, freed: frozenset[str] = frozenset()) -> None:
        super().__init__(str(error))
        self.index, self.error, self.freed = index, error, freed


def write_segment(
    groups: Sequence[networks.Group],
    engine: Engine,
    limits: TilingLimits,
    parameters: ParameterWindow,
    incoming: Sequence[View],
    outgoing: frozenset[str],
    experts: ExpertOrder,
    what: str,
) -> BoardSegment:
    """The stream of ``groups``. What memory on chip has no room for is spilled to DRAM between the groups, and so are
    the results of layers of rows that convolutions read: CONV does not read the memory that these are written to.

    Raises UnfitGroup where memory on chip is too small even so, or where an operand's bits are too few.
    """
    size, spilled = len(parameters.content), _rows_of_images(groups)
    while True:
        crossing = Crossing(outgoing, spilled, _last_reads(groups), _by_rows(groups))
        try:
            return _write(groups, engine, limits, parameters, incoming, crossing, experts, what)
        except UnfitGroup as unfit:
            parameters.rewind(size)
            more = unfit.freed - spilled
            if not more:
                raise
            spilled |= more


def _last_reads(groups: Sequence[networks.Group]) -> dict[str, int]:
    return {view.buffer: index for index, group in enumerate(groups) for view in networks.reads_of(group)}


def _rows_of_images(groups: Sequence[networks.Group]) -> frozenset[str]:
    """The buffers that layers of rows write, but LayerNorm, and convolutions read."""
    images = {group.source.buffer for group in groups if isinstance(group, networks.ImageGroup)}
    others = (networks.NormGroup, networks.ImageGroup, *networks.STREAMED)
    rows = (group for group in groups if not isinstance(group, others))
    return frozenset(view.buffer for group in rows for view in networks.writes_of(group) if view.buffer in images)


def _by_rows(groups: Sequence[networks.Group]) -> frozenset[str]:
    """The buffers that layers of rows read."""
    follow = (networks.ImageGroup, *networks.STREAMED)
    rows = (group for group in groups if not isinstance(group, follow))
    return frozenset(view.buffer for group in rows for view in networks.reads_of(group))


def _write(
    groups: Sequence[networks.Group],
    engine: Engine,
    limits: TilingLimits,
    parameters: ParameterWindow,
    incoming: Sequence[View],
    crossing: Crossing,
    experts: ExpertOrder,
    what: str,
) -> BoardSegment:
    listing = Listing(engine, limits.ring_lines, parameters)
    site = Site(listing, limits, experts, crossing, image_runs(groups, engine))
    inputs = [_reserve_input(site, view, groups) for view in incoming]
    try:
        _emit_groups(site, groups)
    except BudgetError as error:
        raise UnfitGroup(listing.layer, error) from error
    instructions = listing.instructions
    placement = _place(site, instructions, what)
    sizes = {name: size // engine.array_columns for name, size in capacities(engine).items()}
    credits = synchronise(instructions, sizes, placement.addresses)
    layers = tuple(describe(group) for group in groups)
    final = _instructions(instructions, placement, credits, layers, engine)
    if not experts.by_token:
        sizes_of_windows = {**site.sizes, "parameters": len(parameters.content)}
        check_stream(Stream(limits.ring_lines, tuple(final)), engine, sizes_of_windows)
    return BoardSegment(
        stream=encode_stream(final, engine, limits.ring_lines),
        layers=layers,
        layer=tuple(instruction.layer for instruction in instructions),
        inputs=tuple(inputs),
        outputs=tuple(stored for stored in site.stored.values() if stored.window == "output"),
        windows=Windows(**site.sizes),
        placement=placement,
        ring_bytes=(limits.ring_lines + limits.cache_lines) * LINE_BYTES,
        early=tuple(site.prefetched),
        routing=tuple(site.routings),
    )


def _place(site: Site, instructions: Sequence[PendingInstruction], what: str) -> Placement:
    """The addresses of all buffers. Raises UnfitGroup with the buffers that would free the room that is missing."""
    engine = site.listing.engine
    try:
        return place(instructions, capacities(engine), engine.array_columns, what)
    except RegionFull as error:
        spillable = sorted((b for b in error.live if b in site.owners), key=lambda b: (-b.granules, b.name))
        missing, freed = error.missing, frozenset[str]()
        for buffer in spillable:
            if missing <= 0:
                break
            missing -= buffer.granules * engine.array_columns
            freed |= site.owners[buffer]
        raise UnfitGroup(instructions[error.peak].layer, error, freed) from error


def _reserve_input(site: Site, view: View, groups: Sequence[networks.Group]) -> Stored:
    """Rows as wide as the groups see them."""
    seen = (read for group in groups for read in networks.reads_of(group) if read.buffer == view.buffer)
    width = next(seen).shape[-1]
    return site.reserve_rows(view, "input", width)


def _emit_groups(site: Site, groups: Sequence[networks.Group]) -> None:
    """The instructions of every group; the constants of the next group are loaded before, so that it need not wait."""
    constants, crossing = _load_constants(site, groups[0]), site.crossing
    for index, group in enumerate(groups):
        following = None
        if index + 1 < len(groups):
            site.listing.layer = index + 1
            following = _load_constants(site, groups[index + 1])
        site.listing.layer = index
        _emit_group(site, group, constants)
        for name, home in site.homes.items():
            site.owners.setdefault(home.at.buffer, set()).add(name)
        for view in networks.writes_of(group):
            if view.buffer in crossing.outgoing | crossing.spilled:
                site.keep(view)
        constants = following


def _load_constants(site: Site, group: networks.Group) -> OnChipTensor | None:
    if isinstance(group, networks.NormGroup):
        return load_norm_constants(site, group)
    if isinstance(group, networks.ExpertsGroup):
        return load_route_constants(site, group)
    return None


def _emit_group(site: Site, group: networks.Group, constants: OnChipTensor | None) -> None:
    match group:
        case networks.PatchGroup():
            emit_patch(site, group)
        case networks.NormGroup():
            emit_norm(site, group, constants)
        case networks.AttentionGroup():
            emit_attention(site, group)
        case networks.MlpGroup():
            emit_layers(site, group.first, group.second)
        case networks.LinearGroup():
            emit_layers(site, group.layer)
        case networks.ExpertsGroup():
            assert constants is not None
            (emit_experts if fit_whole(site, group) else emit_chunks)(site, group, constants)
        case networks.ImageGroup():
            emit_image(site, group, group.source.buffer in site.homes)
        case networks.AddGroup():
            emit_add(site, group)
        case networks.MapGroup():
            emit_map(site, group)
        case networks.RescaleGroup():
            emit_rescale(site, group)
        case networks.ConcatGroup():
            emit_concat(site, group)
        case networks.MeanGroup():
            emit_mean(site, group)
        case networks.ResizeGroup():
            emit_resize(site, group)
        case networks.ClassesGroup():
            emit_classes(site, group)


def _instructions(
    stream: Sequence[PendingInstruction],
    placement: Placement,
    credits: Credits,
    layers: Sequence[SegmentLayer],
    engine: Engine,
) -> list[Instruction]:
    """The instructions with addresses.

    Raises UnfitGroup with the layer's node where an operand has too few bits or breaks a rule of the engine.
    """
    encodable = []
    for pending, waits, signals in zip(stream, credits.waits, credits.signals, strict=True):
        operands = dict(pending.operands)
        for name, at in pending.at.items():
            address = placement.addresses[at.buffer.name] + at.granule
            operands |= emit.address_operands(name, at.buffer.region, address)
        instruction = Instruction(pending.name, operands, waits, signals)
        try:
            check_instruction(instruction, engine)
        except ConfigError as error:
            nodes, hint = ", ".join(layers[pending.layer].origin), "make the layer smaller, or compile for a CPU"
            unfit = ConfigError(f"{nodes}: no instruction can hold it; {error}; {hint}")
            raise UnfitGroup(pending.layer, unfit) from error
        encodable.append(instruction)
    return encodable


def describe(group: networks.Group) -> SegmentLayer:
    """A group as a layer of a report."""
    steps = networks.steps_of(group)
    # Of the array: the vector unit combines.
    macs = sum(step.operator.macs for step in steps if not isinstance(step.operator, ops.QCombine))
    origin = tuple(dict.fromkeys(node for step in steps for node in step.origin))
    return SegmentLayer(networks.LAYER_NAMES[type(group)], origin, macs)
