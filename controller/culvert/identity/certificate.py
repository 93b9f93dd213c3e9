"""A certificate with its key, as an authority's answer makes it; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from culvert.identity.wire import CertificateAnswer
from culvert.identity.x509 import certificate_pem, key_pem, uris
from culvert.model.identity import Identity


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key: PEM, the leaf first. Times are UNIX seconds."""

    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    serial: int
    begins_seconds: float
    ends_seconds: float

    @property
    def life_seconds(self) -> float:
        """How long it holds."""
        return self.ends_seconds - self.begins_seconds


def read_certificate(
    identity: Identity, key: ec.EllipticCurvePrivateKey, answer: CertificateAnswer
) -> Certificate:
    """Take an answer for what it should be; nothing but that ever reaches the proxy.

    Raises:
        ValueError: it is not a certificate of the identity, for the key, below one of the roots
            that came with it; the message says which.
    """
    chain = _certificates(answer.chain, "its chain")
    leaf = chain[0]
    if leaf.public_key() != key.public_key():
        raise ValueError("it is for another key")
    if uris(leaf) != [identity.spiffe_id]:
        raise ValueError(f"it is of {' '.join(uris(leaf)) or 'nobody'}")
    if not _leads_to_a_root(chain, _certificates(answer.bundle, "its bundle")):
        raise ValueError("no root of its bundle is above it")
    return Certificate(
        certificate_pem(*chain),
        key_pem(key),
        leaf.serial_number,
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
    )


def read_bundle(bundle: str) -> bytes:
    """The roots to trust, as PEM.

    Raises:
        ValueError: there is none.
    """
    return certificate_pem(*_certificates(bundle, "the bundle"))


def leads_to_a_root(certificate: Certificate, bundle_pem: bytes) -> bool:
    """Whether whoever trusts these roots alone trusts the certificate."""
    chain = x509.load_pem_x509_certificates(certificate.chain_pem)
    return _leads_to_a_root(chain, x509.load_pem_x509_certificates(bundle_pem))


def _certificates(pem: str, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError(f"{what} holds no certificate") from None


def _leads_to_a_root(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> bool:
    if not all(_is_issued_by(below, above) for below, above in pairwise(chain)):
        return False
    last = chain[-1]
    return last in roots or any(_is_issued_by(last, root) for root in roots)


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
