"""Normalisations: by given statistics, or by those of the operand itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import te, tirx

from edgemtl.tvm_bridge.generic import mathematics as m
from edgemtl.tvm_bridge.generic.call import Call, Definition, Expr, Refused, Tensor
from edgemtl.tvm_bridge.generic.moments import Index, ReducedRegion, f64, moments, region, total

FLOAT = 1


def _check_float(call: Call) -> None:
    if call.main_type.dtype != "float32" or call.attribute("stash_type", FLOAT) != FLOAT:
        raise Refused(f"{call.op} must be of float32 and compute in it, not in {call.main_type.dtype}")


def batch(call: Call) -> Tensor:
    """By the statistics of training."""
    call.given("momentum"), call.given("spatial")
    _check_float(call)
    if call.attribute("training_mode", 0) or len(call.outputs) > 1:
        raise Refused("BatchNormalization must not be in training mode; export the model in evaluation mode")
    epsilon = m.f32(call.attribute("epsilon", 1e-5))
    x, scale, bias, mean, variance = call.tensors()

    def element(*i: Expr) -> Expr:
        c = i[1]
        return (x(*i) - mean(c)) * (scale(c) / tirx.sqrt(variance(c) + epsilon)) + bias(c)

    return te.compute(x.shape, element, name="batch")


def instance(call: Call) -> Tensor:
    """Each channel of each image by its own statistics."""
    _check_float(call)
    x, scale, bias, (count, channels, *spatial) = (
        call.main(),
        call.tensor("scale"),
        call.tensor("B"),
        call.main_type.shape,
    )

    def read(batch: Index, inner: Index) -> Expr:
        return x(*batch, *inner)

    statistics = moments(ReducedRegion((count, channels), tuple(spatial), read, is_row=True))
    epsilon = call.attribute("epsilon", 1e-5)

    def element(n: Expr, c: Expr, *i: Expr) -> Expr:
        return statistics.normalised(x(n, c, *i), (n, c), epsilon) * scale(c) + bias(c)

    return te.compute(x.shape, element, name="normalised")


def layer(call: Call) -> list[Tensor]:
    """The axes from one on by their statistics, which are optional outputs."""
    _check_float(call)
    x, axes, epsilon = call.main(), _from_axis(call), call.attribute("epsilon", 1e-5)
    over = region(x, axes)
    statistics, leading = moments(over), len(x.shape) - len(axes)
    scale, bias = call.tensor("Scale"), call.tensor("B") if call.has("B") else None

    def element(*i: Expr) -> Expr:
        value = statistics.normalised(x(*i), i[:leading], epsilon) * _at(scale, i)
        return value + _at(bias, i) if bias is not None else value

    def statistic(function: Callable[[Index], Expr]) -> Tensor:
        shape = (*over.batch, *(1,) * len(axes))
        return te.compute(shape, lambda *i: function(i[:leading]).astype("float32"), name="statistic")

    result = te.compute(x.shape, element, name="normalised")
    more = [statistic(statistics.mean), statistic(lambda leading: statistics.inverse(leading, epsilon))]
    return [result, *more[: len(call.outputs) - 1]]


def root_mean_square(call: Call) -> Tensor:
    """The axes from one on by the root of their mean square."""
    _check_float(call)
    x, axes, epsilon = call.main(), _from_axis(call), call.attribute("epsilon", 1e-5)
    over, scale = region(x, axes), call.tensor("scale")
    squares = total(over, lambda value, batch: value * value)

    def element(*i: Expr) -> Expr:
        root = tirx.sqrt(squares(i[: len(over.batch)]) / over.count + f64(epsilon))
        return (m.double(x(*i)) / root).astype("float32") * _at(scale, i)

    return te.compute(x.shape, element, name="normalised")


def _from_axis(call: Call) -> range:
    rank = len(call.main_type.shape)
    return range(call.attribute("axis", -1) % rank, rank)


def _at(tensor: Tensor, index: Sequence[Expr]) -> Expr:
    """The element that broadcasting puts at ``index``."""
    own = list(index)[len(index) - len(tensor.shape) :]
    return tensor(*(i if int(n) > 1 else 0 for i, n in zip(own, tensor.shape, strict=True)))


def lp(call: Call) -> Tensor:
    """An axis by its norm, or by ``floor`` where the norm is less; zeros stay zeros.

    ONNX has no floor: it is that of patterns that are this operator but near 0.
    """
    _check_float(call)
    p, rank = call.attribute("p", 2), len(call.main_type.shape)
    if p not in (1, 2):
        raise Refused(f"p of LpNormalization must be 1 or 2, not {p}")
    x, axis, floor = call.main(), call.attribute("axis", -1) % rank, call.attribute("floor", 0.0)
    sums = total(region(x, [axis]), lambda value, batch: value * value if p == 2 else m.absolute(value))

    def element(*i: Expr) -> Expr:
        norm = sums([*i[:axis], *i[axis + 1 :]])
        norm = tirx.max(tirx.sqrt(norm) if p == 2 else norm, f64(floor))
        return tirx.Select(norm == f64(0), m.f32(0), (m.double(x(*i)) / norm).astype("float32"))

    return te.compute(x.shape, element, name="normalised")


def local_response(call: Call) -> Tensor:
    """Each channel by the squares of the channels around it."""
    _check_float(call)
    size = call.attribute("size", 1)
    alpha, beta, bias = call.attribute("alpha", 1e-4), call.attribute("beta", 0.75), call.attribute("bias", 1.0)
    if size % 2 == 0:
        raise Refused(f"size of LRN must be odd, not {size}; onnxruntime has no even ones")
    x, channels, before = call.main(), call.main_type.shape[1], (size - 1) // 2
    k = te.reduce_axis((0, size), name="k")

    def square(n: Expr, c: Expr, *i: Expr) -> Expr:
        near = c + k - before
        value = tirx.if_then_else(tirx.all(near >= 0, near < channels), x(n, near, *i), m.f32(0))
        return te.sum(value * value, axis=k)

    squares = te.compute(x.shape, square, name="squares")

    def element(*i: Expr) -> Expr:
        base = m.f32(bias) + m.f32(alpha / size) * squares(*i)
        return x(*i) / m.power(base, m.f32(beta))

    return te.compute(x.shape, element, name="normalised")


OPERATORS: dict[str, Definition] = {
    "BatchNormalization": batch,
    "InstanceNormalization": instance,
    "LRN": local_response,
    "LayerNormalization": layer,
    "LpNormalization": lp,
    "RMSNormalization": root_mean_square,
}
