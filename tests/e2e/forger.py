"""Certificates that the mesh's authority does not make, some of them with its own key."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from culvert.identity.authority import Authority, Lifetimes, Signer
from culvert.identity.x509 import certificate_pem, key_pem, new_key, workload_certificate
from culvert.model.identity import Identity

from tests.e2e.attacker import Credentials

HOUR = timedelta(hours=1)


def another_signer(trust_domain: str = "cluster.local") -> Signer:
    """Of an authority of the same names that nobody trusts."""
    return Authority(trust_domain, Lifetimes()).advanced(datetime.now(UTC)).signers[0]


def forged(
    signer: Signer,
    account: str,
    *,
    trust_domain: str = "cluster.local",
    begins: timedelta = -HOUR,
    ends: timedelta = HOUR,
) -> Credentials:
    """A certificate whose dates are as far from now as is said."""
    now, key = datetime.now(UTC), new_key()
    identity = Identity(trust_domain, "default", account)
    leaf = workload_certificate(
        identity, key.public_key(), signer.issuing, signer.issuing_key, now + begins, now + ends
    )
    return Credentials(certificate_pem(leaf, signer.issuing), key_pem(key))


def forged_below_a_leaf(signer: Signer, account: str, victim: str) -> Credentials:
    """One that was signed with the key of a workload, as if that were an authority."""
    now, key = datetime.now(UTC), new_key()
    leaf = workload_certificate(
        Identity("cluster.local", "default", account),
        key.public_key(),
        *(signer.issuing, signer.issuing_key, now - HOUR, now + HOUR),
    )
    made = forged(replace(signer, issuing=leaf, issuing_key=key), victim)
    return Credentials(made.chain + certificate_pem(signer.issuing), made.key)


def self_signed(*names: x509.GeneralName) -> Credentials:
    """One that nobody else has signed."""
    key = new_key()
    return Credentials(certificate_pem(_leaf(names, key, key, _nobody())), key_pem(key))


def with_names(signer: Signer, *names: x509.GeneralName) -> Credentials:
    """One with other names than the authority gives."""
    key = new_key()
    leaf = _leaf(names, key, signer.issuing_key, signer.issuing.subject)
    return Credentials(certificate_pem(leaf, signer.issuing), key_pem(key))


def of_authority(signer: Signer) -> Credentials:
    """The authority's own, which is no workload's."""
    return Credentials(certificate_pem(signer.issuing), key_pem(signer.issuing_key))


def _nobody() -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])


def _leaf(
    names: tuple[x509.GeneralName, ...],
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_nobody())
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
