"""What differs between two worlds, by the identity of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def changed_keys(have: Mapping[K, V], want: Mapping[K, V]) -> set[K]:
    """Keys that are new, gone, or of another object; none where the mappings are the same."""
    if have is want:
        return set()
    changed = {key for key, value in want.items() if have.get(key) is not value}
    changed.update(key for key in have if key not in want)
    return changed
