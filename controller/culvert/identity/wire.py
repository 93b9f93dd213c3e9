"""What agents and the certificate authority say to each other, in JSON.

What is refused is answered with a ``model.refusal.Refusal``.
"""

from __future__ import annotations

import msgspec

CERTIFICATES_PATH = "/v1/certificates"
BUNDLE_PATH = "/v1/bundle"
MAX_REQUEST_BYTES = 64 * 1024
"""Of one request for a certificate; it takes about 700."""

UNREACHABLE = "Unreachable"
"""The reason of a failure where nobody has refused anything."""


class CertificateRequest(msgspec.Struct, frozen=True):
    """``identity`` is a SPIFFE ID, ``request`` a signing request (RFC 2986) in PEM."""

    identity: str
    request: str


class CertificateAnswer(msgspec.Struct, frozen=True):
    """``chain`` is PEM, the leaf first and without the root; times are UNIX seconds."""

    chain: str
    bundle: str
    begins_seconds: float
    ends_seconds: float


class BundleAnswer(msgspec.Struct, frozen=True):
    """``bundle`` is every root to trust, in PEM."""

    bundle: str
    now_seconds: float
