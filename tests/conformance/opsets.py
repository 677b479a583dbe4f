"""The opsets in which an operator changed."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

OLDEST, NEWEST = 9, onnx.defs.onnx_opset_version()


def opsets_of(op: str) -> Iterator[int]:
    """One opset for each version of an operator from 9 to the newest, the newest last."""
    schemas = onnx.defs.get_all_schemas_with_history()
    versions = sorted(s.since_version for s in schemas if s.name == op and s.domain == "")
    starts = [v for v in versions if v <= OLDEST][-1:] + [v for v in versions if v > OLDEST]
    chosen = {max(OLDEST, v) for v in starts}
    if not onnx.defs.get_schema(op).deprecated:
        chosen.add(NEWEST)
    return iter(sorted(chosen))
