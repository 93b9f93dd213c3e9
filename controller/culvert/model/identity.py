"""Workload identities: SPIFFE IDs of service accounts."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_SPIFFE_ID_BYTES = 2048
"""SPIFFE ID, section 2.4."""

SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[a-zA-Z0-9._-]+")


def is_trust_domain(text: str) -> bool:
    """Whether it has only characters that a trust domain may have (SPIFFE ID, section 2.1)."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A service account of a trust domain.

    Raises:
        ValueError: a part has characters that a SPIFFE ID may not have, or it is too long.
    """

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        if not is_trust_domain(self.trust_domain):
            raise ValueError(f"'{self.trust_domain}' is not a trust domain")
        for part in (self.namespace, self.service_account):
            if not _SEGMENT.fullmatch(part) or part in (".", ".."):
                raise ValueError(f"'{part}' cannot be part of a SPIFFE ID")
        if len(self.spiffe_id) > MAX_SPIFFE_ID_BYTES:
            raise ValueError(f"a SPIFFE ID has at most {MAX_SPIFFE_ID_BYTES} bytes")

    @property
    def spiffe_id(self) -> str:
        """``spiffe://<trust domain>/ns/<namespace>/sa/<service account>``."""
        return f"{SCHEME}{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def __str__(self) -> str:
        return self.spiffe_id


def parse_spiffe_id(text: str) -> Identity:
    """Read a SPIFFE ID of the one form that the mesh gives out.

    Raises:
        ValueError: ``text`` is not of that form; the message says why.
    """
    if not text.startswith(SCHEME):
        raise ValueError(f"'{text[:100]}' does not begin with {SCHEME}")
    parts = text.removeprefix(SCHEME).split("/")
    if len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa":
        raise ValueError(f"'{text[:100]}' is not {SCHEME}<trust domain>/ns/<name>/sa/<name>")
    return Identity(parts[0], parts[2], parts[4])
