"""Integer steps by the law, operator by operator: the functional device."""

from __future__ import annotations

from collections.abc import Mapping

from edgemtl.host import integers
from edgemtl.quantize.execute import Function
from edgemtl.quantize.reference import FLOAT

INTEGER: Mapping[type, Function] = {**FLOAT, **integers.INTEGER}
"""What each integer step computes; the layers that are kept in float are the reference's."""
