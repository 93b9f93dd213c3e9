"""The mesh's own certificate authority, and how it passes from one root to the next.

A new root is made when half of the life of the newest is over. It is handed out at once and signs
nothing until every node has had the time to fetch it; then it signs everything; and the old one is
handed out until the last certificate below it has ended. At no moment is there a certificate whose
root some node does not have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from culvert.identity import x509 as svid
from culvert.model.identity import Identity


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things hold. ``spread`` is how long a new root takes to reach every node."""

    certificate: timedelta = timedelta(hours=24)
    intermediate: timedelta = timedelta(days=60)
    root: timedelta = timedelta(days=3650)
    spread: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """A root with the intermediate that signs in its name."""

    root: x509.Certificate
    root_key: ec.EllipticCurvePrivateKey
    issuing: x509.Certificate
    issuing_key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"Signer(serial={self.root.serial_number:x})"


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and what is needed to trust others: PEM, the leaf first, without the root."""

    chain_pem: bytes
    serial: int
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """The signers, oldest first; a value. ``advanced`` is to be called before it is used."""

    trust_domain: str
    lifetimes: Lifetimes
    signers: tuple[Signer, ...] = ()

    def advanced(self, now: datetime) -> Authority:
        """What the authority is to be now: itself, unless a root or an intermediate is due."""
        signers = [one for one in self.signers if one.root.not_valid_after_utc > now]
        if not signers or _is_half_over(signers[-1].root, now):
            signers.append(self._new_signer(now))
        current = self._current(signers, now)
        since = self._signs_since(current, signers)
        last_below_older = since + self.lifetimes.certificate + self.lifetimes.spread
        if now > last_below_older:
            signers = signers[signers.index(current) :]
        signers = [
            self._with_new_intermediate(one, now)
            if one is current and _is_half_over(one.issuing, now)
            else one
            for one in signers
        ]
        changed = len(signers) != len(self.signers) or any(
            one is not other for one, other in zip(signers, self.signers, strict=True)
        )
        return replace(self, signers=tuple(signers)) if changed else self

    @property
    def bundle_pem(self) -> bytes:
        """All roots to trust."""
        return svid.certificate_pem(*(one.root for one in self.signers))

    def issue(self, request_pem: bytes, identity: Identity, now: datetime) -> Issued:
        """Make the certificate of an identity for the key in a signing request.

        Raises:
            BadRequestError: the request is none, or not of this trust domain.
        """
        if identity.trust_domain != self.trust_domain:
            raise svid.BadRequestError(f"{identity} is not of {self.trust_domain}")
        key = svid.requested_key(request_pem)
        signer = self._current(self.signers, now)
        begins = svid.backdated(now, self.lifetimes.certificate)
        begins = max(begins, signer.issuing.not_valid_before_utc)
        ends = min(now + self.lifetimes.certificate, signer.issuing.not_valid_after_utc)
        leaf = svid.workload_certificate(
            identity, key, signer.issuing, signer.issuing_key, begins, ends
        )
        chain = svid.certificate_pem(leaf, signer.issuing)
        return Issued(chain, leaf.serial_number, begins, ends)

    def _current(self, signers: tuple[Signer, ...] | list[Signer], now: datetime) -> Signer:
        """The newest that every node has had the time to fetch; the oldest where none is."""
        spread = [one for one in signers if self._signs_since(one, signers) <= now]
        return spread[-1] if spread else signers[0]

    def _signs_since(self, signer: Signer, signers: tuple[Signer, ...] | list[Signer]) -> datetime:
        made = signer.root.not_valid_before_utc
        return made if signer is signers[0] else made + self.lifetimes.spread

    def _new_signer(self, now: datetime) -> Signer:
        root_key = svid.new_key()
        life = self.lifetimes.root
        root = svid.self_signed_root(
            self.trust_domain, root_key, svid.backdated(now, life), now + life
        )
        return self._with_new_intermediate(Signer(root, root_key, root, root_key), now)

    def _with_new_intermediate(self, signer: Signer, now: datetime) -> Signer:
        key = svid.new_key()
        life = self.lifetimes.intermediate
        begins = max(svid.backdated(now, life), signer.root.not_valid_before_utc)
        ends = min(now + life, signer.root.not_valid_after_utc)
        issuing = svid.intermediate(
            self.trust_domain, key, signer.root, signer.root_key, begins, ends
        )
        return replace(signer, issuing=issuing, issuing_key=key)


def write_signers(signers: tuple[Signer, ...]) -> dict[str, bytes]:
    """Files of a state folder or a Secret: keys and certificates in PEM by name."""
    files = {}
    for index, one in enumerate(signers):
        files[f"root-{index}.crt"] = svid.certificate_pem(one.root)
        files[f"root-{index}.key"] = svid.key_pem(one.root_key)
        files[f"issuing-{index}.crt"] = svid.certificate_pem(one.issuing)
        files[f"issuing-{index}.key"] = svid.key_pem(one.issuing_key)
    return files


def read_signers(files: dict[str, bytes]) -> tuple[Signer, ...]:
    """What ``write_signers`` wrote.

    Raises:
        ValueError: a part is missing or is not what its name says.
    """
    signers = []
    for index in range(len(files) // 4):
        try:
            root, issuing = (
                x509.load_pem_x509_certificate(files[f"{name}-{index}.crt"])
                for name in ("root", "issuing")
            )
            root_key, issuing_key = (
                _load_key(files[f"{name}-{index}.key"]) for name in ("root", "issuing")
            )
        except KeyError as missing:
            raise ValueError(f"{missing} is missing") from None
        signers.append(Signer(root, root_key, issuing, issuing_key))
    return tuple(signers)


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("a key is not an ECDSA key")
    return key


def _is_half_over(certificate: x509.Certificate, now: datetime) -> bool:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begins + (ends - begins) / 2
