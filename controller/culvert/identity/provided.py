"""An authority whose key an operator provides: what must be so before anything is signed with it.

The files are those of a Secret that cert-manager writes: ``tls.crt`` is the certificate of the
authority and then those between it and the root, ``tls.key`` its key, ``ca.crt`` the roots. The
root itself may sign, and then stands in ``tls.crt``. All of this follows RFC 5280, section 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from culvert.identity import x509 as svid
from culvert.identity.authority import Issued, Issuer
from culvert.model.identity import SCHEME, Identity

CHAIN, KEY, ROOTS = "tls.crt", "tls.key", "ca.crt"


class ProvidedError(ValueError):
    """What is provided cannot be used; names the file, what is wrong, and the remedy."""

    def __init__(self, file: str, problem: str, remedy: str) -> None:
        super().__init__(f"{file} {problem}; {remedy}")


@dataclass(frozen=True, slots=True)
class ProvidedAuthority:
    """A value. ``roots`` are all to trust, ``life`` is how long a certificate holds."""

    issuer: Issuer
    roots: tuple[x509.Certificate, ...]
    life: timedelta

    @property
    def trust_domain(self) -> str:
        """The only one whose identities it issues for."""
        return self.issuer.trust_domain

    @property
    def bundle_pem(self) -> bytes:
        """All roots to trust."""
        return svid.certificate_pem(*self.roots)

    @property
    def ends(self) -> datetime:
        """When the first certificate ends that all others rest on."""
        return min(one.not_valid_after_utc for one in (*self.issuer.chain, self.issuer.root))

    def issue(self, request_pem: bytes, identity: Identity, now: datetime) -> Issued:
        """Make the certificate of an identity for the key in a signing request.

        Raises:
            BadRequestError: the request is none, or not of this trust domain.
        """
        return self.issuer.issue(request_pem, identity, now, self.life)


def read_provided(
    files: Mapping[str, bytes], trust_domain: str, life: timedelta, now: datetime
) -> ProvidedAuthority:
    """Read the files of an operator.

    Raises:
        ProvidedError: something is missing, does not fit, or does not hold now.
    """
    certificates = _certificates(files, CHAIN)
    roots = [one for one in _certificates(files, ROOTS) if one.not_valid_after_utc > now]
    if not roots:
        raise ProvidedError(ROOTS, "has no root that has not ended", "store the one in force")
    signing = certificates[0]
    key = _key(files, signing)
    _check_names(signing, trust_domain)
    chain = _chain_to_root(signing, certificates[1:], roots)
    for below, one in enumerate(chain):
        _check_authority(one, CHAIN if one in certificates else ROOTS, below, now)
    return ProvidedAuthority(Issuer(trust_domain, tuple(chain), key, chain[-1]), tuple(roots), life)


def _certificates(files: Mapping[str, bytes], file: str) -> list[x509.Certificate]:
    if not files.get(file):
        raise ProvidedError(file, "is missing", "store certificates in PEM there")
    try:
        return x509.load_pem_x509_certificates(files[file])
    except ValueError:
        remedy = "store certificates in PEM there"
        raise ProvidedError(file, "holds no certificate that can be read", remedy) from None


def _key(files: Mapping[str, bytes], signing: x509.Certificate) -> svid.SigningKey:
    if not files.get(KEY):
        raise ProvidedError(KEY, "is missing", f"store the key of {CHAIN} in PEM there")
    try:
        key = svid.signing_key(files[KEY])
    except ValueError as error:
        remedy = f"store the key of {CHAIN} in PEM there"
        raise ProvidedError(KEY, f"cannot be used: {error}", remedy) from None
    if key.public_key() != signing.public_key():
        remedy = "store a pair that belongs together"
        raise ProvidedError(KEY, f"is not the key of the first certificate of {CHAIN}", remedy)
    return key


def _check_names(signing: x509.Certificate, trust_domain: str) -> None:
    """SPIFFE X.509-SVID, 3.2: the identity of an authority, if it has one, is its trust domain."""
    wanted = f"{SCHEME}{trust_domain}"
    for uri in svid.uris(signing):
        if uri.startswith(SCHEME) and uri != wanted:
            raise ProvidedError(
                CHAIN,
                f"is of an authority for {uri[:100]}, and the trust domain is {trust_domain}",
                "provide an authority for this trust domain, or change the trust domain",
            )


def _chain_to_root(
    signing: x509.Certificate,
    others: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
) -> list[x509.Certificate]:
    """From the authority to the root, both of them included."""
    chain = [signing]
    while chain[-1] not in roots:
        above = next(_issuers(chain[-1], [*roots, *others]), None)
        if above is None or above in chain:
            raise ProvidedError(
                CHAIN,
                f"leads to no root in {ROOTS}: nobody there has issued "
                f"'{chain[-1].subject.rfc4514_string()}'",
                f"put the certificates in between after the first of {CHAIN}, the root in {ROOTS}",
            )
        chain.append(above)
    return chain


def _issuers(
    certificate: x509.Certificate, candidates: Sequence[x509.Certificate]
) -> Iterator[x509.Certificate]:
    for one in candidates:
        try:
            certificate.verify_directly_issued_by(one)
        except (ValueError, TypeError, InvalidSignature):
            continue
        yield one


def _check_authority(certificate: x509.Certificate, file: str, below: int, now: datetime) -> None:
    """``below`` is the number of authorities between it and the certificates of workloads."""
    who = f"'{certificate.subject.rfc4514_string()}'"
    if now < certificate.not_valid_before_utc:
        begins = certificate.not_valid_before_utc.isoformat()
        raise ProvidedError(file, f"{who} does not hold before {begins}", "wait, or set the clock")
    if now >= certificate.not_valid_after_utc:
        ended = certificate.not_valid_after_utc.isoformat()
        raise ProvidedError(file, f"{who} has ended at {ended}", "renew it")
    extensions = certificate.extensions
    try:
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        is_authority, longest = basic.ca, basic.path_length
    except x509.ExtensionNotFound:
        is_authority, longest = False, None
    if not is_authority or not _may_sign(extensions):
        remedy = "make it with basicConstraints CA:TRUE and keyUsage keyCertSign"
        raise ProvidedError(file, f"{who} is not a certificate authority", remedy)
    if longest is not None and longest < below:
        remedy = f"make it with a pathlen of {below} or more, or sign with it directly"
        raise ProvidedError(file, f"{who} allows {longest} authorities below it", remedy)
    if not _may_stand_for_workloads(extensions):
        remedy = "make it without extendedKeyUsage, or with both serverAuth and clientAuth"
        raise ProvidedError(file, f"{who} is not for servers and clients", remedy)


def _may_sign(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _may_stand_for_workloads(extensions: x509.Extensions) -> bool:
    """Verifiers take the usages of an authority for limits of those below it."""
    try:
        usages = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return True
    needed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    return ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages or needed <= usages
