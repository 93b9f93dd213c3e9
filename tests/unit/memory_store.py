"""A store in memory, and what others do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from culvert.model.stored_files import StoredFiles


@dataclass
class MemoryStore:
    """``before_write`` is what others do just before a write arrives."""

    files: dict[str, bytes] | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    version: int = 0
    error: Exception | None = None
    before_write: Callable[[], None] = lambda: None
    writes: int = 0
    name: str = "Secret culvert-system/store"

    async def read(self) -> StoredFiles | None:
        if self.error is not None:
            raise self.error
        if self.files is None:
            return None
        return StoredFiles(dict(self.files), str(self.version), dict(self.annotations))

    async def create(self, files: Mapping[str, bytes]) -> bool:
        self.before_write()
        if self.files is not None:
            return False
        self.put(files)
        self.writes += 1
        return True

    async def replace(self, files: Mapping[str, bytes], over: StoredFiles) -> bool:
        self.before_write()
        if self.files is None or over.version != str(self.version):
            return False
        self.put(files)
        self.writes += 1
        return True

    def put(self, files: Mapping[str, bytes] | None) -> None:
        """What anybody may do."""
        self.files = None if files is None else dict(files)
        self.version += 1
