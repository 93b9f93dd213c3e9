"""Small files that are kept together under one name: the data of a Secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """``version`` is of all of it together; ``files`` may hold keys, and is not printed."""

    files: Mapping[str, bytes] = field(repr=False)
    version: str
    annotations: Mapping[str, str]
