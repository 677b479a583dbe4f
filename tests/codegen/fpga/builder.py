"""Integer steps of small random networks, written block after block as quantisation leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from edgemtl import operators as ops
from edgemtl.hw.arith import encode_scale, pack_scale
from edgemtl.hw.law import Finish
from edgemtl.lowering.ir import INPUT, OUTPUT, Constant, Step, View, dense, make_step
from edgemtl.operators import Frame, TensorType
from edgemtl.tvm_bridge.generic import Call, lower_call

IMAGE = f"{INPUT}image"

WIDE = Finish("int16")
UNIT = 5400
"""What a product of random bytes adds to a sum, about."""


class Net:
    """Steps with random weights. What they begin with is cut from one float32 image that holds whole numbers."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.steps: list[Step] = []
        self._image: list[np.ndarray] = []
        self._made = self._given = 0

    def __repr__(self) -> str:
        return "\n".join(f"{s.operator} of {[v.buffer for v in s.inputs]}" for s in self.steps)

    @property
    def image(self) -> Frame:
        """An image for the steps so far."""
        return {"image": np.concatenate(self._image).astype(np.float32)}

    def other_image(self, seed: int) -> Frame:
        """Another one of the same kind: the values in another order."""
        rng = np.random.default_rng(seed)
        return {"image": np.concatenate([rng.permutation(part) for part in self._image]).astype(np.float32)}

    def view(self, rows: int, width: int, dtype: str = "int8") -> View:
        """A new buffer."""
        self._made += 1
        return dense(f"b{self._made}", (rows, width), dtype)

    def add(
        self,
        operator: ops.Operator,
        views: Mapping[str, View],
        arrays: Mapping[str, np.ndarray | Sequence[np.ndarray]] = MappingProxyType({}),
    ) -> View:
        """One step of operands and constants by name; its first output."""
        name = f"/{type(operator).__name__}_{len(self.steps)}"
        constants = {
            key: [Constant(f"{name}.{key}.{i}", array) for i, array in enumerate(value)]
            if key in operator.signature.repeated
            else Constant(f"{name}.{key}", value)
            for key, value in arrays.items()
        }
        self.steps.append(make_step(operator, views, constants, (name,)))
        return self.steps[-1].result

    def ints(self, low: int, high: int, *shape: int) -> np.ndarray:
        """Random integers, both ends included."""
        return self.rng.integers(low, high, shape, endpoint=True)

    def source(self, rows: int, width: int, dtype: str) -> View:
        """Rows that a layer in float32 hands over."""
        high = 127 if dtype == "int8" else 32767
        values = self.rng.normal(0, high / 3, rows * width).round().clip(-high - 1, high)
        size, y = rows * width, self.view(rows, width, dtype)
        # Operands begin at whole lines.
        self._image.append(np.pad(values, (0, -size % 16)))
        seen = View(IMAGE, (size,), (1,), self._given)
        self._given += size + -size % 16
        self.add(ops.Quantise(size, dtype, 1.0, 0), {"x": seen, "y": dense(y.buffer, (size,), dtype)})
        return y

    def result(self, view: View) -> None:
        """Rows that a layer in float32 takes."""
        ends = [step.result.offset + step.result.size for step in self.steps if step.result.buffer == OUTPUT]
        seen = View(OUTPUT, (view.size,), (1,), -(-max(ends, default=0) // 16) * 16)
        whole = replace(view, shape=(view.size,), strides=(1,))
        self.add(ops.Dequantise(view.size, view.dtype, 1.0, 0), {"x": whole, "y": seen})

    def scales(self, n: int, k: int, spread: float) -> np.ndarray:
        """Scale words that bring sums of ``k`` products to about ``spread``, each column to its own."""
        wanted = spread / (UNIT * k**0.5) * np.exp(self.rng.uniform(-1, 1, n))
        return pack_scale(*np.array([encode_scale(float(scale)) for scale in wanted]).T)

    def layer(self, k: int, n: int, how: Finish, table: bool = False) -> dict[str, np.ndarray]:
        """Weight, bias, scale words, and a table."""
        spread = 4000 if how.dtype == "int16" else 60
        bias = self.ints(-UNIT, UNIT, n).astype(np.int32)
        weight = self.ints(-127, 127, k, n).astype(np.int8)
        layer = {"weight": weight, "bias": bias, "scale": self.scales(n, k, spread)}
        return layer | {"table": self.table()} if table else layer

    def table(self) -> np.ndarray:
        """A table of bytes."""
        return self.ints(-128, 127, 256).astype(np.int8)

    def finish(self) -> Finish:
        """Bytes with a zero point and perhaps a least value."""
        return Finish("int8", int(self.ints(-40, 40)), int(self.rng.choice([-128, -128, -30])))

    def linear(self, x: View, n: int, how: Finish, table: bool = False, residual: View | None = None) -> View:
        """A layer of its own."""
        rows, k = x.shape
        y = self.view(rows, n, how.dtype)
        linear = ops.QLinear(rows, k, n, how, table, residual is not None)
        added = {} if residual is None else {"residual": residual}
        return self.add(linear, {"x": x, **added, "y": y}, self.layer(k, n, how, table))

    def patch(self, patches: int, k: int, n: int, leading: int) -> View:
        """Patches of an image to tokens."""
        x = self.source(patches, k, "int8")
        table = self.ints(-9000, 9000, leading + patches, n).astype(np.int16)
        embed, tokens = ops.QPatchEmbed(patches, k, n, leading), self.view(leading + patches, n, "int16")
        return self.add(embed, {"x": x, "y": tokens}, self.layer(k, n, WIDE) | {"table": table})

    def norm(self, x: View, first: int = 0, plain: bool = True) -> View:
        """LayerNorm of the rows from ``first`` on; not ``plain``: with halvings and offsets."""
        rows, dim = x.shape[0] - first, x.shape[1]
        seen = View(x.buffer, (rows, dim), x.strides, first * dim, x.dtype)
        halvings = np.zeros(dim) if plain else self.ints(0, 7, dim)
        offset = np.zeros(dim) if plain else self.ints(-90, 90, dim)
        norm = ops.QLayerNorm(rows, dim, int(self.ints(2**8, 2**30)), int(self.ints(2**16, 2**17 - 1)), 11)
        constants = {"halvings": halvings.astype(np.int8), "offset": offset.astype(np.int8)}
        return self.add(norm, {"x": seen, "y": self.view(rows, dim)}, constants)

    def attention(self, x: View, stream: View, heads: int, head_dim: int) -> View:
        """q, k and v, attention, and the layer behind it onto the residual."""
        return self.linear(self.mixed(x, heads, head_dim), stream.shape[1], WIDE, residual=stream)

    def mixed(self, x: View, heads: int, head_dim: int) -> View:
        """q, k and v, and attention."""
        width, tokens = heads * head_dim, x.shape[0]
        qkv = self.linear(x, 3 * width, Finish("int8"))
        shift = int(np.log2(UNIT * head_dim**0.5 / 250))
        attention = ops.QAttention(tokens, heads, head_dim, shift, int(self.ints(2**16, 2**17 - 1)), 16)
        return self.add(attention, {"qkv": qkv, "y": self.view(tokens, width)})

    def mlp(self, x: View, stream: View, hidden: int, table: bool) -> View:
        """Two layers onto the residual."""
        return self.linear(self.linear(x, hidden, self.finish(), table), stream.shape[1], WIDE, residual=stream)

    def experts(
        self,
        x: View,
        stream: View | None,
        experts: int,
        top_k: int,
        hidden: int,
        *,
        candidates: tuple[int, ...] | None = None,
        skew: float = 0.0,
        table: bool = True,
        normalize: bool = True,
        threshold: int = 0,
    ) -> View:
        """Gate, router and experts, onto the residual if there is one; ``skew`` of all logits go to some experts."""
        tokens, width = x.shape
        layer = self.layer(width, experts, WIDE)
        # Logits spread over a few powers of two, so that all chosen experts weigh something.
        layer["bias"] += (skew * UNIT * width**0.5 * self.rng.permutation(experts)).astype(np.int32)
        gate = self.view(tokens, experts, "int16")
        self.add(ops.QLinear(tokens, width, experts, WIDE), {"x": x, "y": gate}, layer)
        chosen = tuple(range(experts)) if candidates is None else candidates
        router = ops.QRouter(tokens, experts, top_k, chosen, normalize, threshold)
        outputs = router.signature.outputs.items()
        routes = {name: dense(self.view(1, 1).buffer, kind.shape, "int32") for name, kind in outputs}
        self.add(router, {"logits": gate, **routes})
        shared = {"table": self.table()} if table else {}
        first = self._bank(x, routes, hidden, self.finish(), router, shared, gather=True)
        second = self._bank(first, routes, width, WIDE, router, {}, gather=False)
        views = {"x": second, "weights": routes["weights"], "slots": routes["slots"]}
        views |= {} if stream is None else {"residual": stream}
        combine = ops.QCombine(tokens, top_k, width, stream is not None)
        return self.add(combine, {**views, "y": self.view(tokens, width, "int16")})

    def _bank(
        self,
        x: View,
        routes: Mapping[str, View],
        n: int,
        how: Finish,
        router: ops.QRouter,
        table: Mapping[str, np.ndarray],
        *,
        gather: bool,
    ) -> View:
        slots, k = len(router.candidates), x.shape[1]
        layers = [self.layer(k, n, how) for _ in range(slots)]
        arrays = {name: [layer[name] for layer in layers] for name in ("weight", "bias", "scale")}
        experts = ops.QExperts(router.tokens, router.top_k, slots, k, n, gather, how, bool(table))
        y = self.view(router.tokens * router.top_k, n, how.dtype)
        views = {"x": x, "tokens": routes["tokens"], "offsets": routes["offsets"], "y": y}
        return self.add(experts, views, arrays | table)

    def enlarge(self, x: View, height: int, width: int) -> View:
        """An image of twice the size."""
        y = self.view(4 * height * width, x.shape[1])
        return self.add(ops.QBilinear(height, width, x.shape[1]), {"x": x, "y": y})

    def conv(
        self,
        x: View,
        height: int,
        width: int,
        cout: int,
        how: Finish,
        *,
        table: bool = False,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        pad: tuple[int, int, int, int] | None = None,
        groups: int = 1,
    ) -> View:
        """A convolution; without ``pad`` it keeps the size of an image where it has no stride, for odd kernels."""
        cin, (above, beside) = x.shape[1], (step * (taps // 2) for step, taps in zip(dilation, kernel, strict=True))
        pads = (above, beside, above, beside) if pad is None else pad
        sides = height + pads[0] + pads[2], width + pads[1] + pads[3]
        axes = zip(sides, kernel, stride, dilation, strict=True)
        out = [(side - (taps - 1) * apart - 1) // step + 1 for side, taps, step, apart in axes]
        layer = self.layer(cin // groups * kernel[0] * kernel[1], cout, how, table)
        layer["weight"] = layer["weight"].T.reshape(cout, cin // groups, *kernel)
        zero = int(self.ints(-128, 127))
        conv = ops.QConv2d(
            height, width, cin, cout, *out, kernel, stride, pads, dilation, zero, how, table, groups
        )  # fmt: skip
        y = self.view(out[0] * out[1], cout, how.dtype)
        return self.add(conv, {"x": x, "y": y}, layer)

    def classes(self, x: View, height: int, width: int, enlarge: bool) -> View:
        """The class of each pixel of an image, or of one upsampled by 2."""
        operator = ops.QClasses(height, width, x.shape[1], enlarge, x.dtype)
        y = dense(f"classes of {x.buffer}", (operator.out_height, operator.out_width), "uint8")
        return self.add(operator, {"x": x, "y": y})

    def widened(self, x: View) -> None:
        """Bytes as the int64 of a model's output, on the host CPU."""
        kinds = (TensorType(x.shape, "uint8"),), {}, (TensorType(x.shape, "int64"),)
        cast = lower_call("/Cast", Call("Cast", 13, {"to": 7}, *kinds)).operator
        names = (*cast.signature.inputs, *cast.signature.outputs)
        views = x, dense(f"int64 of {x.buffer}", x.shape, "int64")
        self.add(cast, dict(zip(names, views, strict=True)))
