"""Whose JSON Web Tokens are believed."""

from __future__ import annotations

import msgspec


class TokenIssuer(msgspec.Struct, frozen=True):
    """Whose JSON Web Tokens are believed.

    ``jwks`` is a JSON Web Key Set (RFC 7517) with public keys alone. A token must be for one of
    ``audiences``, if there are any.
    """

    issuer: str
    jwks: str
    audiences: tuple[str, ...] = ()
