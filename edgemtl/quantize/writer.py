"""Writing the integer steps of one task: the type of each value, and conversions where a reader needs another type."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from edgemtl import operators as ops
from edgemtl.errors import InternalError, UnsupportedError
from edgemtl.hw.arith import FINE_BITS, MULTIPLIER_BITS, encode_scale
from edgemtl.hw.law_weightless import Rescale
from edgemtl.lowering.ir import INPUT, INPUTS, OUTPUT, Constants, Step, View, dense, make_step, space_of
from edgemtl.operators import Array, Operator
from edgemtl.quantize.correctable import Correctable
from edgemtl.quantize.limits import EIGHT, NO_PLACE, NO_RANGE, NO_STREAM, SCALE_CHANGES, SIXTEEN
from edgemtl.quantize.needs import Need
from edgemtl.quantize.observe import ALL, UNBOUNDED, Observation, Range
from edgemtl.quantize.tensors import FLOAT_TENSOR, Tensor, affine, logits, symmetric, wide
from edgemtl.quantize.widths import Widths

WIDENED = 8
"""Octaves by which a byte may be coarser than 16 bits, beyond the scale of a requantisation."""


@dataclass
class Writer:
    """The integer steps of one task while they are written.

    ``seen``: the ranges of the float steps, none where a quantised model brings its scales along. ``needs``: what the
    readers of every float buffer need. ``stream``: the scale of the residual stream, None where nothing says it.
    ``wide``: the float steps that give or read wide activations. ``own``: the tensors that the model itself gives to
    buffers, each written by one step; ``by_law``: come near to these by the integer law. ``coarsened``: layers with
    weights that are not integers of 8 bits in the model. ``fixed``: the float steps that stay in float32.
    ``tensors``: the quantised tensor in each buffer. A buffer's twins are the same value in other types.
    """

    float_steps: Sequence[Step]
    seen: Observation
    needs: Mapping[str, frozenset[Need]]
    stream: float | None
    wide: Widths = field(default_factory=Widths)
    own: Mapping[str, Tensor] = field(default_factory=dict)
    by_law: bool = False
    fixed: frozenset[int] = frozenset()
    steps: list[Step] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    correctable: list[Correctable] = field(default_factory=list)
    sums: dict[int, Tensor] = field(default_factory=dict)
    coarsened: list[str] = field(default_factory=list)
    index: int = 0
    _sizes: dict[str, int] = field(default_factory=dict)
    _twins: dict[tuple[str, str, float, int, bool], str] = field(default_factory=dict)
    _dense: list[View] = field(default_factory=list)

    def __post_init__(self) -> None:
        for view in (view for step in self.float_steps for view in step.views):
            self._sizes[view.buffer] = max(self._sizes.get(view.buffer, 0), view.extent_bytes // view.itemsize)
            if space_of(view.buffer) == INPUTS:
                self.tensors[view.buffer] = FLOAT_TENSOR

    @property
    def source(self) -> Step:
        """The float step that is being written."""
        return self.float_steps[self.index]

    @property
    def name(self) -> str:
        """The name under which a user knows the step."""
        return self.source.origin[0]

    def range(self, part: str = "") -> Range:
        """The range of the step's output, or of a part of it, on the calibration images."""
        return self.observed(f"{self.index}.{part}" if part else str(self.index))

    def observed(self, name: str) -> Range:
        """A range of `seen`. Raises UnsupportedError where there is none."""
        if name not in self.seen.ranges:
            raise UnsupportedError(self.name, NO_RANGE, "add --calibration FOLDER, or keep it in float (--keep-float)")
        return self.seen.ranges[name]

    @property
    def is_unknown(self) -> bool:
        """Whether neither the model nor calibration images say anything about the step's result."""
        return self.own_result is None and str(self.index) not in self.seen.ranges

    @property
    def own_result(self) -> Tensor | None:
        """The tensor that the model gives the step's first output."""
        return self.own.get(self.source.result.buffer)

    @property
    def is_fine(self) -> bool:
        """Whether multipliers have 20 bits instead of 17, since float32 is to be followed."""
        return bool(self.own) and not self.by_law

    @property
    def multiplier_bits(self) -> int:
        """Bits of multipliers."""
        return FINE_BITS if self.is_fine else MULTIPLIER_BITS

    def encode(self, scale: float) -> tuple[int, int]:
        """A scale as a multiplier and a shift. Raises UnsupportedError for one out of range."""
        return encode_scale(scale, self.name, self.multiplier_bits)

    @property
    def _own_integers(self) -> Tensor | None:
        """The same. Raises UnsupportedError for integers that the law has no place for."""
        if self.own_result is not None and self.own_result.dtype == "float32":
            raise UnsupportedError(self.name, NO_PLACE, "keep it in float (--keep-float)")
        return self.own_result

    @property
    def stream_tensor(self) -> Tensor:
        """16 bits of the residual stream. Raises UnsupportedError where nothing says its scale."""
        if self.own_result is not None and self.own_result.dtype == "int16":
            return self.own_result
        if self.stream is None:
            raise UnsupportedError(self.name, NO_STREAM, "add --calibration FOLDER, or keep it in float (--keep-float)")
        return Tensor("int16", self.stream)

    def check_scale(self, tensor: Tensor) -> None:
        """Raise UnsupportedError where the model gives the step's result another tensor."""
        if self.own_result is not None and not self.own_result.equals(tensor):
            raise UnsupportedError(self.name, SCALE_CHANGES, "keep it in float (--keep-float)")

    @property
    def is_wide(self) -> bool:
        """Whether the step gives a wide activation."""
        return self.index in self.wide.sources

    def step(self, operator: Operator, views: Mapping[str, View], constants: Constants = MappingProxyType({})) -> None:
        """Append an integer step for the current float step; operands by name."""
        self._append(make_step(operator, views, constants, self.source.origin))

    def keep(self, step: Step) -> None:
        """Append a float step as it is, its inputs in float32; then what rounds its result, if the model has that."""
        inputs = tuple(self.float_view(view) for view in step.inputs)
        own = self.own.get(step.result.buffer) if step.outputs else None
        if own is None or own.dtype == "float32":
            for view in step.outputs:
                self.define(view.buffer, FLOAT_TENSOR)
            self._append(replace(step, inputs=inputs))
            return
        first, *others = step.outputs
        for view in others:
            self.define(view.buffer, FLOAT_TENSOR)
        size = self._sizes[first.buffer]
        real = replace(first, buffer=f"{first.buffer}.real")
        self.define(real.buffer, FLOAT_TENSOR, size)
        self._append(replace(step, inputs=inputs, outputs=(real, *others)))
        self.round(dense(real.buffer, (size,)), own)

    def round(self, real: View, tensor: Tensor) -> None:
        """Append what quantises a whole float32 value to the step's first output."""
        assert tensor.dtype != "float32"
        with self.output(tensor) as out:
            quantise = ops.Quantise(real.size, tensor.dtype, 1 / tensor.scale, tensor.zero)
            self.step(quantise, {"x": real, "y": dense(out.buffer, (real.size,), tensor.dtype)})

    def copy(self, source: View, target: View) -> None:
        """Append a copy between two views of one shape and type."""
        operator = ops.QCopy(source.itemsize, source.shape, source.strides, target.strides)
        self._place(make_step(operator, {"x": source, "y": target}, {}, self.source.origin))

    def _append(self, step: Step) -> None:
        """Append a step; its inputs are made dense where its kernel needs that."""
        inputs = step.inputs if step.operator.strided else tuple(map(self._aligned, step.inputs))
        self._place(replace(step, inputs=inputs))

    def _place(self, step: Step) -> None:
        self.steps.append(step)
        self.sources.append(self.index)

    def summed(self, tensor: Tensor) -> None:
        """Record the tensor that the last step's sums are requantised to before its table."""
        self.sums[len(self.steps) - 1] = tensor

    def correct(self, unit: Array) -> None:
        """Record that the last step's bias may be corrected."""
        self.correctable.append(Correctable(len(self.steps) - 1, self.index, unit))

    @contextmanager
    def output(self, tensor: Tensor) -> Iterator[View]:
        """Where the step's first output goes, as ``tensor``; the graph's output is float32 and gets it converted.

        Raises UnsupportedError where the model gives it another tensor.
        """
        self.check_scale(tensor)
        view = self.source.result
        if view.buffer != OUTPUT:
            self.define(view.buffer, tensor)
            yield replace(view, dtype=tensor.dtype)
            return
        self.define(integers := f"{OUTPUT}.{tensor.dtype}", tensor, self._sizes[OUTPUT])
        yield replace(view, buffer=integers, dtype=tensor.dtype)
        self._dequantise(integers, OUTPUT)

    def temporary(self, name: str, shape: tuple[int, ...], tensor: Tensor) -> View:
        """A new buffer for a value on the way to the step's first output."""
        view = dense(f"{self.source.result.buffer}.{self.index}.{name}", shape, tensor.dtype)
        self.define(view.buffer, tensor, view.size)
        return view

    def define(self, buffer: str, tensor: Tensor, size: int | None = None) -> None:
        """Record the tensor in a buffer, and the number of its elements where the buffer is new."""
        self.tensors[buffer] = tensor
        if size is not None:
            self._sizes[buffer] = size

    @property
    def result_needs(self) -> frozenset[Need]:
        """What the readers of the step's first output need."""
        return self.needs.get(self.source.result.buffer, frozenset())

    def byte_tensor(self) -> Tensor:
        """The step's first output in 8 bits, or 12, whatever its readers need: they get bytes converted.

        Raises UnsupportedError where the model gives it 16 bits.
        """
        own = self._own_integers
        if own is not None and own.dtype != "int8":
            raise UnsupportedError(self.name, EIGHT, "keep it in float (--keep-float)")
        return own or affine(self.range(), self.name, self.is_wide)

    def output_tensor(self) -> Tensor:
        """The tensor the readers of the step's first output want, where the model itself gives none."""
        if (own := self._own_integers) is not None:
            return own
        needs = self.result_needs
        if "logits" in needs:
            return logits(self.range("all").reach, self.name)
        if "stream" in needs:
            return self.stream_tensor
        if self.range() == UNBOUNDED:
            reason = "it gives values that are infinite or not a number on a calibration image"
            raise UnsupportedError(self.name, reason, "keep it in float (--keep-float)")
        if "wide" in needs or "final" in needs or needs == {"float"}:
            return wide(self.range("all").reach, self.name)
        return affine(self.range(), self.name)

    def stream_view(self, view: View) -> View:
        """An input as 16 bits on the scale of the residual stream."""
        tensor = self.tensors[view.buffer]
        if tensor.dtype == "float32":
            return self.quantised_view(view, self.stream_tensor)
        return self._as(view, self.stream_tensor, "the residual stream")

    def logit_view(self, view: View) -> tuple[View, Tensor]:
        """An input as gate logits, and their tensor."""
        tensor, expected = self.tensors[view.buffer], logits(self._range_of(view.buffer, ALL).reach, self.name)
        if tensor.dtype == "float32":
            return self.quantised_view(view, expected), expected
        return self._as(view, expected, "a gate's logits"), expected

    def _as(self, view: View, expected: Tensor, what: str) -> View:
        actual = self.tensors[view.buffer]
        if actual.dtype == "int8" and actual.fold is None and actual.parts is None:
            return self._widened(view, actual, expected)
        if (actual.dtype, actual.scale) != (expected.dtype, expected.scale):
            reason = f"it reads {what}, and what it reads has no integer form of 16 bits"
            raise UnsupportedError(self.name, reason, "keep it in float (--keep-float)")
        return replace(view, dtype=actual.dtype)

    def _widened(self, view: View, actual: Tensor, expected: Tensor) -> View:
        """Bytes as 16 bits of another scale."""
        # Bytes may be much coarser than 16 bits: the octaves lie in the shift.
        mul, shift = self.encode(actual.scale / expected.scale / 2**WIDENED)
        return self._converted(view, expected, Rescale(actual.zero, mul, shift - WIDENED, 0))

    def byte_view(self, view: View) -> tuple[View, Tensor]:
        """An input as int8, and its tensor."""
        tensor = self.tensors[view.buffer]
        if tensor.dtype == "int8":
            return replace(view, dtype="int8"), tensor
        if view.buffer in self.own:
            reason = SIXTEEN if tensor.dtype == "int16" else NO_PLACE
            raise UnsupportedError(self.name, reason, "keep it in float (--keep-float)")
        seen = self._range_of(view.buffer)
        if tensor.dtype == "float32":
            bytes_ = affine(seen, self.name)
            return self.quantised_view(view, bytes_), bytes_
        bytes_ = symmetric(seen.reach, self.name)
        return self._converted(view, bytes_, Rescale(0, *self.encode(tensor.scale / bytes_.scale), 0)), bytes_

    def integers(self, view: View) -> View:
        """An input as int8 or int16, whichever it is; what is float32 as bytes."""
        return self.integer_view(view) if self.tensors[view.buffer].dtype == "int16" else self.plain_view(view)[0]

    def _converted(self, view: View, tensor: Tensor, how: Rescale) -> View:
        """Integers in another type and scale."""
        source = self.tensors[view.buffer].dtype
        buffer, is_new = self._twin(view.buffer, tensor)
        if is_new:
            assert source != "float32"
            assert tensor.dtype != "float32"
            convert = ops.Convert(self._sizes[view.buffer], source, tensor.dtype, how)
            self.step(convert, {"x": self._whole(view.buffer), "y": self._whole(buffer)})
        return replace(view, buffer=buffer, dtype=tensor.dtype)

    def activation_view(self, view: View) -> tuple[View, Tensor]:
        """An input as int8, or wide where the step reads it so and it is not int8 already, and its tensor."""
        tensor = self.tensors[view.buffer]
        if tensor.wide:
            return replace(view, dtype="int16"), tensor
        if tensor.dtype == "float32" and self.index in self.wide.readers:
            wide_ = affine(self._range_of(view.buffer), self.name, True)
            return self.quantised_view(view, wide_), wide_
        return self.byte_view(view)

    def plain_view(self, view: View) -> tuple[View, Tensor]:
        """An input as int8 that stands for its values by one scale, with nothing left for the reader to make good."""
        seen, tensor = self.byte_view(view)
        if tensor.fold is not None or tensor.parts is not None:
            raise InternalError(f"{self.name} must read values of one scale, not those of a LayerNorm or of q, k and v")
        return seen, tensor

    def float_view(self, view: View) -> View:
        """An input in float32."""
        if self.tensors[view.buffer].dtype == "float32" or view.dtype != "float32":
            return view
        buffer, is_new = self._twin(view.buffer, FLOAT_TENSOR)
        if is_new:
            self._dequantise(view.buffer, buffer)
        return replace(view, buffer=buffer)

    def integer_view(self, view: View) -> View:
        """An input in the integer type of its buffer."""
        return replace(view, dtype=self.tensors[view.buffer].dtype)

    def _range_of(self, buffer: str, part: str = "") -> Range:
        """The range of a value: that of the last step that wrote its buffer, or of an input."""
        if space_of(buffer) == INPUTS:
            return self.observed(buffer)
        writers = [i for i, s in enumerate(self.float_steps[: self.index]) if s.result.buffer == buffer]
        seen = self.observed(f"{writers[-1]}{part}")
        if seen == UNBOUNDED:
            reason = "it reads values that are infinite or not a number on a calibration image"
            raise UnsupportedError(self.name, reason, "keep it in float (--keep-float)")
        return seen

    def quantised_view(self, view: View, tensor: Tensor) -> View:
        """A float32 input as integers. Raises UnsupportedError for one that the model rounds to other integers."""
        if view.buffer in self.own:
            raise UnsupportedError(self.name, NO_PLACE, "keep it in float (--keep-float)")
        buffer, is_new = self._twin(view.buffer, tensor)
        if is_new:
            assert tensor.dtype != "float32"
            quantise = ops.Quantise(self._sizes[view.buffer], tensor.dtype, 1 / tensor.scale, tensor.zero, tensor.wide)
            self.step(quantise, {"x": self._whole(view.buffer), "y": self._whole(buffer)})
        return replace(view, buffer=buffer, dtype=tensor.dtype)

    def _dequantise(self, buffer: str, target: str) -> None:
        tensor = self.tensors[buffer]
        assert tensor.dtype != "float32"
        assert tensor.fold is None
        assert tensor.parts is None
        dequantise = ops.Dequantise(self._sizes[buffer], tensor.dtype, tensor.scale, tensor.zero)
        self.step(dequantise, {"x": self._whole(buffer), "y": dense(target, (self._sizes[buffer],))})

    def _twin(self, buffer: str, tensor: Tensor) -> tuple[str, bool]:
        """The buffer for the same value as another tensor, and whether it is new."""
        key = buffer, tensor.dtype, tensor.scale, tensor.zero, tensor.wide
        if key in self._twins:
            return self._twins[key], False
        others = sum(known[:2] == key[:2] for known in self._twins)
        twin = self._twins[key] = f"{_own(buffer)}.{tensor.dtype}" + (f".{others}" if others else "")
        self.define(twin, tensor, self._sizes[buffer])
        return twin, True

    def _whole(self, buffer: str) -> View:
        return dense(buffer, (self._sizes[buffer],), self.tensors[buffer].dtype)

    def _aligned(self, view: View) -> View:
        """The view, or a dense copy where its smaller elements break the alignment that kernels need."""
        return view if view.itemsize == 4 else self.dense(view)

    def dense(self, view: View) -> View:
        """Integers that lie row-major without gaps, copied where they do not."""
        if view.is_dense:
            return view
        # Views of one buffer may begin at the same element and see others behind it.
        same = [other for other in self._dense if (other.buffer, other.offset) == (view.buffer, view.offset)]
        if view not in same:
            self._dense.append(view)
            same.append(view)
        number = same.index(view)
        buffer = f"{_own(view.buffer)}.{view.offset}.dense" + (f".{number}" if number else "")
        self.define(buffer, self.tensors[view.buffer], math.prod(view.shape))
        target = dense(buffer, view.shape, view.dtype)
        self.copy(view, target)
        return target


def _own(buffer: str) -> str:
    """How buffers of the program's own begin that hold what is in another one: no such buffer is an input."""
    return buffer.replace(INPUT, "from/", 1) if buffer.startswith(INPUT) else buffer
