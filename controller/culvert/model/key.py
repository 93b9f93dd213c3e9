"""The name of a namespaced object."""

from __future__ import annotations

from typing import NamedTuple


class ObjectKey(NamedTuple):
    """Namespace and name; sorts by namespace, then name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
