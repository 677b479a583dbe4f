"""Documents read strictly into frozen dataclasses, whose annotations say what each value must be; a leaf.

``read(Kind, Field("file.json", document))`` is the only reader of bundles, board files, parameters and descriptions.
"""

from edgemtl.records.field import Dialect, Field, parse_json, shorten
from edgemtl.records.read import leaves, members, read
from edgemtl.records.rules import NAME, Rule, check, integer, items, number, one_of

__all__ = [
    "NAME",
    "Dialect",
    "Field",
    "Rule",
    "check",
    "integer",
    "items",
    "leaves",
    "members",
    "number",
    "one_of",
    "parse_json",
    "read",
    "shorten",
]
