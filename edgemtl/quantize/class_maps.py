"""Class maps: where ArgMax over the channels of an image reads integer logits, upsampled by 2 or as they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from edgemtl import operators as ops
from edgemtl.hw.rules import MOST_CLASSES
from edgemtl.lowering.ir import Step, View, dense
from edgemtl.quantize.links import only_link, rows_of_planes
from edgemtl.quantize.writer import Writer
from edgemtl.tvm_bridge.generic import Generic


@dataclass(frozen=True)
class ClassMap:
    """An ArgMax whose operands are logits in rows.

    absorbed: the float steps between and a cast of the classes to bytes, whose operands nothing else reads. narrow:
    that cast, None where classes stay integers of 64 bits.
    """

    height: int
    width: int
    enlarge: bool
    logits: View
    absorbed: frozenset[int]
    narrow: int | None


def find_class_maps(steps: Sequence[Step], fixed: Collection[int]) -> dict[int, ClassMap]:
    """The class maps of a task by the index of their ArgMax; steps at ``fixed`` run as they are."""
    maps = {index: _class_map(steps, index, fixed) for index in range(len(steps)) if index not in fixed}
    return {index: class_map for index, class_map in maps.items() if class_map is not None}


def _class_map(steps: Sequence[Step], index: int, fixed: Collection[int]) -> ClassMap | None:
    """ArgMax of planes, which a copy makes of rows, which may be those of an image upsampled by 2."""
    choice = steps[index]
    if not isinstance(choice.operator, Generic) or not _is_over_channels(choice.operator):
        return None
    _, channels, height, width = choice.operator.call.main_type.shape
    turn = _only_writer(steps, index, choice.main_input, fixed)
    if turn is None or not isinstance(steps[turn].operator, ops.Copy):
        return None
    rows = rows_of_planes(steps[turn])
    logits = rows.reshape((height * width, channels)) if rows is not None else None
    if rows is None or logits is None or rows.shape != (1, height, width, channels):
        return None
    if not steps[turn]["y"].sees_as(choice.main_input):
        return None
    narrow = _cast_to_bytes(steps, index, fixed)
    absorbed = frozenset({turn} if narrow is None else {turn, narrow})
    before = _only_writer(steps, turn, steps[turn]["x"], fixed)
    resize = steps[before].operator if before is not None else None
    if before is not None and isinstance(resize, ops.Resize) and _doubles(resize):
        return ClassMap(resize.height, resize.width, True, steps[before]["x"], absorbed | {before}, narrow)
    return ClassMap(height, width, False, logits, absorbed, narrow)


def _cast_to_bytes(steps: Sequence[Step], index: int, fixed: Collection[int]) -> int | None:
    """The cast to uint8 that alone reads the classes of an ArgMax."""
    link = only_link(steps, steps[index].result)
    if link is None or link[1] in fixed:
        return None
    reader = steps[link[1]]
    is_cast = isinstance(reader.operator, Generic) and reader.operator.call.op == "Cast"
    return link[1] if is_cast and reader.result.dtype == "uint8" else None


def _is_over_channels(operator: Generic) -> bool:
    """Whether a node is an ArgMax over the channels of one image that chooses the first of equal values."""
    call = operator.call
    shape, attributes = call.main_type.shape, call.attributes
    is_image = len(shape) == 4 and shape[0] == 1 and shape[1] <= MOST_CLASSES and operator.reads == (0,)
    first = not attributes.get("select_last_index", 0) and call.main_type.dtype == "float32"
    return call.op == "ArgMax" and is_image and first and attributes.get("axis", 0) % 4 == 1


def _doubles(resize: ops.Resize) -> bool:
    twice = (resize.out_height, resize.out_width) == (2 * resize.height, 2 * resize.width)
    return twice and not resize.planar


def _only_writer(steps: Sequence[Step], reader: int, view: View, fixed: Collection[int]) -> int | None:
    """The step that alone writes what ``reader`` alone reads; None where it is not so, or the step runs as it is."""
    link = only_link(steps, view)
    return link[0] if link is not None and link[1] == reader and link[0] not in fixed else None


def is_absorbed(writer: Writer, class_maps: Mapping[int, ClassMap]) -> bool:
    """Whether the step that is written is one that a class map makes unnecessary."""
    return any(writer.index in each.absorbed and applies(writer, each) for each in class_maps.values())


def applies(writer: Writer, class_map: ClassMap) -> bool:
    """Whether its logits are integers of one scale; known when they have been written."""
    tensor = writer.tensors[class_map.logits.buffer]
    if any(writer.float_steps[index].result.buffer in writer.own for index in class_map.absorbed):
        return False  # The model itself rounds what lies between.
    return tensor.dtype != "float32" and tensor.fold is None and tensor.parts is None


def write_class_map(writer: Writer, class_map: ClassMap) -> None:
    """The classes as bytes, and the integers of the model made of them unless it casts them to bytes itself."""
    view, result = writer.integer_view(class_map.logits), writer.source.result
    dtype = writer.tensors[view.buffer].dtype
    assert dtype != "float32"
    operator = ops.QClasses(class_map.height, class_map.width, view.shape[-1], class_map.enlarge, dtype)
    classes = dense(f"{result.buffer}.classes", (operator.out_height, operator.out_width), "uint8")
    writer.step(operator, {"x": view, "y": classes})
    if class_map.narrow is not None:
        result = writer.float_steps[class_map.narrow].result
    seen, numbers = classes.reshape((result.size,)), result.reshape((result.size,))
    assert seen is not None
    assert numbers is not None
    if class_map.narrow is not None:
        writer.copy(seen, numbers)
    else:
        writer.step(ops.Widen(result.size), {"x": seen, "y": numbers})
