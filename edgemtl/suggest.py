"""What a misspelt name was most likely meant to be; standard library only."""

from __future__ import annotations

from collections.abc import Iterable

LEAST_LIKENESS = 0.6
MOST_LISTED = 12


def nearest(word: str, known: Iterable[str], likeness: float = LEAST_LIKENESS) -> str | None:
    """The name of ``known`` that ``word`` resembles most; None where it resembles none by ``likeness`` (0 to 1)."""
    # Only a mistake needs it.
    import difflib

    by_spelling = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(word.casefold(), by_spelling, n=1, cutoff=likeness)
    return by_spelling[matches[0]] if matches else None


def one_of(what: str, known: Iterable[str], word: str) -> str:
    """The message for a ``word`` that is none of ``known``: "WHAT must be one of a, b, not 'c'; did you mean 'b'?"."""
    names = tuple(known)
    name = nearest(word, names)
    hint = f"; did you mean {name!r}?" if name else ""
    return f"{what} must be one of {listed(names)}, not {word!r}{hint}"


def listed(names: tuple[str, ...]) -> str:
    """The names with commas between; of very many the first ones and how many there are."""
    if len(names) <= MOST_LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_LISTED])} and {len(names) - MOST_LISTED} more"
