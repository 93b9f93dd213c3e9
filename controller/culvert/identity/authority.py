"""The mesh's own certificate authority, and how it passes from one root to the next.

A new root is made when half of the life of the newest is over. It is handed out at once and signs
nothing until every node has had the time to fetch it; then it signs everything; and the old one is
handed out until the last certificate below it has ended. At no moment is there a certificate whose
root some node does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from culvert.identity import x509 as svid
from culvert.model.identity import Identity


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long things hold.

    ``spread`` is how long a new root takes to reach every node. Certificates may have had a longer
    life before, up to ``longest_certificate``.
    """

    certificate: timedelta = timedelta(hours=24)
    longest_certificate: timedelta = timedelta(0)
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


@dataclass(frozen=True, slots=True, repr=False)
class Issuer:
    """Who signs: its certificate, then those above it, up to the root or without it."""

    trust_domain: str
    chain: tuple[x509.Certificate, ...]
    key: svid.SigningKey
    root: x509.Certificate

    def issue(
        self, request_pem: bytes, identity: Identity, now: datetime, life: timedelta
    ) -> Issued:
        """Make the certificate of an identity; it ends before any that it rests on.

        Raises:
            BadRequestError: the request is none, or not of this trust domain.
        """
        if identity.trust_domain != self.trust_domain:
            raise svid.BadRequestError(f"{identity} is not of {self.trust_domain}")
        key = svid.requested_key(request_pem)
        begins = svid.backdated(now, life)
        authorities = [*self.chain, self.root]
        begins = max([begins, *(one.not_valid_before_utc for one in authorities)])
        ends = min([now + life, *(one.not_valid_after_utc for one in authorities)])
        leaf = svid.workload_certificate(identity, key, self.chain[0], self.key, begins, ends)
        above = [one for one in self.chain if one != self.root]
        chain_pem = svid.certificate_pem(leaf, *above)
        return Issued(
            chain_pem, leaf.serial_number, leaf.not_valid_before_utc, leaf.not_valid_after_utc
        )


@dataclass(frozen=True, slots=True)
class Authority:
    """The signers, oldest first; a value. ``advanced`` is to be called before it is used.

    ``also_trusted`` are roots of another authority, which issued before this one.
    """

    trust_domain: str
    lifetimes: Lifetimes
    signers: tuple[Signer, ...] = ()
    also_trusted: tuple[x509.Certificate, ...] = ()

    def advanced(self, now: datetime, roots_since: datetime | None = None) -> Authority:
        """What the authority is to be now: itself, unless a root or an intermediate is due.

        A root from before ``roots_since`` is due at once.
        """
        signers = [one for one in self.signers if one.root.not_valid_after_utc > now]
        if not signers or _is_due(signers[-1].root, now, roots_since):
            signers.append(self._new_signer(now))
        current = self._current(signers, now)
        lifetimes = self.lifetimes
        longest = max(lifetimes.certificate, lifetimes.longest_certificate)
        last_below_older = self._signs_since(current, signers) + longest + lifetimes.spread
        if now > last_below_older:
            signers = signers[signers.index(current) :]
        signers = [
            self._with_new_intermediate(one, now)
            if one is current and not self._may_issue(one.issuing, now)
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
        return svid.certificate_pem(*(one.root for one in self.signers), *self.also_trusted)

    def issue(self, request_pem: bytes, identity: Identity, now: datetime) -> Issued:
        """Make the certificate of an identity for the key in a signing request.

        Raises:
            BadRequestError: the request is none, or not of this trust domain.
        """
        signer = self._current(self.signers, now)
        issuer = Issuer(self.trust_domain, (signer.issuing,), signer.issuing_key, signer.root)
        return issuer.issue(request_pem, identity, now, self.lifetimes.certificate)

    @property
    def ends(self) -> datetime:
        """When the last root ends."""
        return max(one.root.not_valid_after_utc for one in self.signers)

    def _current(self, signers: tuple[Signer, ...] | list[Signer], now: datetime) -> Signer:
        """The newest that every node has had the time to fetch; the oldest where none is."""
        spread = [one for one in signers if self._signs_since(one, signers) <= now]
        return spread[-1] if spread else signers[0]

    def _may_issue(self, issuing: x509.Certificate, now: datetime) -> bool:
        is_ours = svid.uris(issuing) == [f"spiffe://{self.trust_domain}"]
        return is_ours and not _is_due(issuing, now)

    def _signs_since(self, signer: Signer, signers: tuple[Signer, ...] | list[Signer]) -> datetime:
        made = svid.made(signer.root)
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


def read_signers(files: Mapping[str, bytes]) -> tuple[Signer, ...]:
    """What ``write_signers`` wrote; files of other names are ignored.

    Raises:
        ValueError: there is nothing, a part is missing, or one is not what its name says.
    """
    signers: list[Signer] = []
    while f"root-{len(signers)}.crt" in files:
        root, root_key = _read_pair(files, f"root-{len(signers)}")
        issuing, issuing_key = _read_pair(files, f"issuing-{len(signers)}")
        try:
            issuing.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            raise ValueError(f"issuing-{len(signers)}.crt is not of its root") from None
        signers.append(Signer(root, root_key, issuing, issuing_key))
    if not signers:
        raise ValueError("root-0.crt is missing")
    return tuple(signers)


def _read_pair(
    files: Mapping[str, bytes], name: str
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    for file in (f"{name}.crt", f"{name}.key"):
        if file not in files:
            raise ValueError(f"{file} is missing")
    try:
        certificate = x509.load_pem_x509_certificate(files[f"{name}.crt"])
    except ValueError:
        raise ValueError(f"{name}.crt is not a certificate") from None
    try:
        key = svid.signing_key(files[f"{name}.key"])
    except ValueError as error:
        raise ValueError(f"{name}.key is not a key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != (
        certificate.public_key()
    ):
        raise ValueError(f"{name}.key is not the key of {name}.crt")
    return certificate, key


def _is_due(certificate: x509.Certificate, now: datetime, since: datetime | None = None) -> bool:
    """Whether half of its life is over, or it is older than is wanted."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    is_old = since is not None and svid.made(certificate) < since <= now
    return is_old or now >= begins + (ends - begins) / 2
