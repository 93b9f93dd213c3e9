"""Which node sends a request, by the bearer token (RFC 6750) in it."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from culvert.model.refusal import RefusedError

_SCHEME = "Bearer "


class Authenticator(Protocol):
    """What tells who calls."""

    async def node_of(self, token: str) -> str:
        """Return the node that a token stands for. Raises ``RefusedError``."""


async def calling_node(request: web.Request, authenticator: Authenticator) -> str:
    """Return the node whose agent's token the request shows.

    Raises:
        RefusedError: it shows none, or none that is good.
    """
    header = request.headers.get("Authorization", "")
    if not header.startswith(_SCHEME):
        raise RefusedError(401, "Unauthenticated", "the request shows no bearer token")
    return await authenticator.node_of(header.removeprefix(_SCHEME).strip())
