"""Where the keys of an authority, and the roots to trust, outlive the process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from culvert.model.stored_files import StoredFiles


class Source(Protocol):
    """What may be read. ``name`` is for people."""

    @property
    def name(self) -> str:
        """What it is and where: ``Secret culvert-system/cacerts``."""

    async def read(self) -> StoredFiles | None:
        """All of it, None where there is nothing; raises what the Kubernetes client raises."""


class Store(Source, Protocol):
    """What may be written, too; never over what somebody else has written meanwhile."""

    async def create(self, files: Mapping[str, bytes]) -> bool:
        """Write it where there is nothing; False where another was first."""

    async def replace(self, files: Mapping[str, bytes], over: StoredFiles) -> bool:
        """Write it in the place of what was read; False where that has changed meanwhile."""


async def write(store: Store, files: Mapping[str, bytes], over: StoredFiles | None) -> bool:
    """Create or replace; False where another was faster, and what it wrote is to be read."""
    return await (store.create(files) if over is None else store.replace(files, over))
