"""Tokens as an API server signs them, with other claims."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


def signed_again(token: str, signing_key: Path, **claims: Any) -> str:
    """The token with some claims replaced, and a signature (RS256) that is good."""
    key = serialization.load_pem_private_key(signing_key.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    header, payload, _ = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    content = f"{header}.{_encoded(json.dumps({**told, **claims}).encode())}"
    signature = key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{content}.{_encoded(signature)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
