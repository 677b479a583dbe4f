"""JSON of a bundle, and how messages speak of it."""

from __future__ import annotations

from edgemtl.errors import ConfigError
from edgemtl.records import Dialect, parse_json, shorten

AGAIN = "; compile the bundle again"
DIALECT = Dialect(advice=AGAIN, newer="; use a newer edgemtl or compile again")


def parse_document(data: bytes, name: str) -> object:
    """The JSON document in ``data``, which messages call ``name``.

    Raises ConfigError for bad UTF-8 or JSON, repeated keys, NaN and infinity.
    """
    try:
        return parse_json(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} must be a JSON document; {shorten(str(error))}{AGAIN}") from None
