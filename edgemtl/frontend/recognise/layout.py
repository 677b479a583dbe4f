"""Which axes of one shape are which axes of another with as many elements."""

from __future__ import annotations

from collections.abc import Sequence

Groups = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def axis_groups(old: Sequence[int], new: Sequence[int]) -> Groups:
    """The smallest groups of axes, in order, of the same elements in both shapes; axes of size 1 are left out."""
    left = [(axis, size) for axis, size in enumerate(old) if size > 1]
    right = [(axis, size) for axis, size in enumerate(new) if size > 1]
    groups = []
    while left and right:
        (axis, a), (other, b) = left.pop(0), right.pop(0)
        olds, news = [axis], [other]
        while a != b:
            if a < b:
                axis, size = left.pop(0)
                a, olds = a * size, [*olds, axis]
            else:
                other, size = right.pop(0)
                b, news = b * size, [*news, other]
        groups.append((tuple(olds), tuple(news)))
    return tuple(groups)
