"""Why an object could not be decoded."""

from __future__ import annotations


class DecodeError(Exception):
    """An object is not valid: which field, what is wrong with it, and what to do."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(f"{field}: {message} ({remedy})")
        self.field = field
        self.message = message
        self.remedy = remedy
