"""Why an object could not be decoded."""

from __future__ import annotations

from culvert.model.finding import concise


class DecodeError(Exception):
    """An object is not valid: which field, what is wrong with it, and what to do."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(f"{field}: {concise(message)} ({remedy})")
        self.field = field
        self.message = concise(message)
        self.remedy = remedy
