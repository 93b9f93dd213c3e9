"""Issuers of tokens, from the wire shapes to the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from culvert.model.token_issuer import TokenIssuer
from culvert.sources.decode import policy_wire as wire
from culvert.sources.decode.error import DecodeError

_MAX_ISSUERS = 16
_PRIVATE = ("d", "p", "q", "k")
"""Members of a JSON Web Key that are secret (RFC 7518, 6.2.2, 6.3.2 and 6.4)."""
_KINDS = {"EC": ("crv", "x", "y"), "RSA": ("n", "e"), "OKP": ("crv", "x")}
"""What a public key of each type is made of."""
_SHAPE = 'write {"keys": [...]} with public keys, as the issuer publishes it'


def token_issuers(seen: Iterable[wire.TokenIssuerObject]) -> tuple[TokenIssuer, ...]:
    """The issuers in their order.

    Raises:
        DecodeError: one is named twice, or its key set cannot be used.
    """
    found: list[TokenIssuer] = []
    for index, one in enumerate(seen):
        field = f"spec.tokenIssuers[{index}]"
        if index == _MAX_ISSUERS:
            raise DecodeError("spec.tokenIssuers", "has too many items", f"at most {_MAX_ISSUERS}")
        if not one.issuer or one.issuer in (other.issuer for other in found):
            raise DecodeError(
                f"{field}.issuer",
                f"'{one.issuer}' is empty or named before",
                "name each issuer once",
            )
        _check_keys(one.jwks, f"{field}.jwks")
        found.append(TokenIssuer(one.issuer, one.jwks, tuple(one.audiences or ())))
    return tuple(found)


def _check_keys(text: str, field: str) -> None:
    try:
        keys = msgspec.json.decode(text, type=dict[str, Any]).get("keys")
    except msgspec.MsgspecError:
        raise DecodeError(field, "is not a JSON Web Key Set", _SHAPE) from None
    if not isinstance(keys, list) or not keys:
        raise DecodeError(field, "has no keys", _SHAPE)
    for index, key in enumerate(keys):
        if not isinstance(key, dict) or key.get("kty") not in _KINDS:
            kinds = ", ".join(_KINDS)
            raise DecodeError(f"{field} keys[{index}].kty", f"is none of {kinds}", _SHAPE)
        missing = [one for one in _KINDS[key["kty"]] if not isinstance(key.get(one), str)]
        if missing:
            raise DecodeError(f"{field} keys[{index}]", f"has no {missing[0]}", _SHAPE)
        if any(name in key for name in _PRIVATE):
            raise DecodeError(
                f"{field} keys[{index}]",
                "is a private key",
                "leave the secret part out and replace the key: it has been read by others",
            )
