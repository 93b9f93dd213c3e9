"""Requests with tokens, good and bad, and conditions with those of them that they let in."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from culvert.compile.authorization.facts import Connection, HttpRequest
from culvert.model.token_issuer import TokenIssuer

NAME, AUDIENCE = "https://issuer.example", "shop"
_KEY, _OTHER_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
_CALL = Connection("10.0.0.1", "10.0.0.9", 8080, "cluster.local/ns/shop/sa/cart")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _key_set(key: ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "one"}
    jwk |= {"x": _text(_number(public.x)), "y": _text(_number(public.y))}
    return json.dumps({"keys": [jwk]})


ISSUER = TokenIssuer(NAME, _key_set(_KEY), (AUDIENCE,))

GOOD: Mapping[str, Any] = {
    "iss": NAME,
    "sub": "ann",
    "aud": AUDIENCE,
    "groups": ["admins", "staff"],
    "org": {"unit": "sales"},
    "level": "7",
}


def signed(claims: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """A token (RFC 7515, compact serialization)."""
    head = _text(json.dumps({"alg": "ES256", "kid": "one"}).encode())
    body = f"{head}.{_text(json.dumps(claims).encode())}"
    parts = decode_dss_signature(key.sign(body.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{body}.{_text(b''.join(map(_number, parts)))}"


def _request(token: str, good: Mapping[str, Any] | None = None) -> tuple[Connection, HttpRequest]:
    """``good`` are the claims of a token that is to be believed."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    if good is None:
        return _CALL, HttpRequest("GET", "web", "/", headers)
    audiences = good["aud"] if isinstance(good["aud"], list) else [good["aud"]]
    return _CALL, HttpRequest(
        "GET",
        "web",
        "/",
        headers,
        token_principal=f"{good['iss']}/{good['sub']}",
        token_audiences=tuple(audiences),
        token_claims=dict(_claims((), good)),
    )


def _claims(path: tuple[str, ...], value: Any) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    if isinstance(value, dict):
        return [one for name, inner in value.items() for one in _claims((*path, name), inner)]
    if isinstance(value, list):
        return [(path, tuple(value))]
    return [(path, (value,))] if isinstance(value, str) else []


@cache
def tokens() -> Mapping[str, tuple[Connection, HttpRequest]]:
    """Requests by what is special about their token."""
    later = {"exp": int(time.time()) + 3600}
    bob = {**GOOD, "sub": "bob", "groups": "staff", "aud": ["other", AUDIENCE], **later}
    return {
        "good": _request(signed({**GOOD, **later}, _KEY), GOOD),
        "bob": _request(signed(bob, _KEY), bob),
        "none": _request(""),
        "garbage": _request("not.a.token"),
        "another key": _request(signed({**GOOD, **later}, _OTHER_KEY)),
        "expired": _request(signed({**GOOD, "exp": int(time.time()) - 3600}, _KEY)),
        "without an end": _request(signed(GOOD, _KEY)),
        "for others": _request(signed({**GOOD, **later, "aud": "other"}, _KEY)),
        "another issuer": _request(signed({**GOOD, **later, "iss": "https://x"}, _KEY)),
    }


_ALL = set(tokens())
_BELIEVED = {"good", "bob"}


def _when(key: str, *values: str, **more: Any) -> dict[str, Any]:
    return {"key": f"request.auth.{key}", **({"values": list(values)} if values else {}), **more}


TOKEN_CASES: list[tuple[dict[str, Any], set[str]]] = [
    (_when("principal", "*"), _BELIEVED),
    (_when("principal", f"{NAME}/ann"), {"good"}),
    (_when("principal", f"{NAME}/a*"), {"good"}),
    (_when("principal", "https://*"), _BELIEVED),
    (_when("principal", "*/bob"), {"bob"}),
    (_when("principal", "*b"), {"bob"}),
    (_when("principal", "*.example/ann"), {"good"}),
    (_when("principal", "https://x/ann"), set()),
    (_when("principal", notValues=[f"{NAME}/ann"]), _ALL - {"good"}),
    (_when("audiences", AUDIENCE), _BELIEVED),
    (_when("audiences", "other"), {"bob"}),
    (_when("claims[groups]", "admins"), {"good"}),
    (_when("claims[groups]", "sta*"), _BELIEVED),
    (_when("claims[groups]", notValues=["admins"]), _ALL - {"good"}),
    (_when("claims[org][unit]", "sales"), _BELIEVED),
    (_when("claims[org][unit]", "*les", notValues=["x"]), _BELIEVED),
    (_when("claims[level]", "7"), _BELIEVED),
    (_when("claims[nothing]", "*"), set()),
]
