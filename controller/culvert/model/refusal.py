"""What a service of the mesh answers when it does not do what it was asked."""

from __future__ import annotations

import msgspec


class RefusedError(Exception):
    """A request gets nothing; ``status`` and ``reason`` are those of the answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not a 200: what is wrong and what would be right.

    ``reason`` is for programs: ``Unauthenticated`` (401), ``Forbidden`` (403), ``SendFull`` (409),
    ``TooLarge`` (413), ``Unreadable`` (400) and ``Unavailable`` (503); of certificates also
    ``NotOnNode`` and ``OtherTrustDomain`` (403) and ``BadRequest`` (400).
    """

    reason: str
    message: str
