"""X.509-SVIDs and the certificates above them (SPIFFE X.509-SVID; RFC 5280)."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from culvert.model.identity import Identity

_BACKDATED = timedelta(seconds=60)

_SHA256 = hashes.SHA256()

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""Of a certificate authority: the mesh's own have P-256 keys, an operator's may be others."""


class BadRequestError(Exception):
    """A certificate was asked for in a way that cannot be granted; says what is wrong."""


def backdated(now: datetime, life: timedelta) -> datetime:
    """When a certificate that is made now begins to hold: a little before, for clocks that lag."""
    return now - min(_BACKDATED, life / 10)


def made(certificate: x509.Certificate) -> datetime:
    """When a certificate that was ``backdated`` was made."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begins + min(_BACKDATED, (ends - begins) / 11)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key, in memory only."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate_pem(*certificates: x509.Certificate) -> bytes:
    """PEM blocks, in this order."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as PEM (PKCS #8), not encrypted: for memory, and for the Secret of the CA alone."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def make_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A signing request (RFC 2986) in PEM that proves possession of the key and says no name."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, _SHA256)
    return request.public_bytes(serialization.Encoding.PEM)


def requested_key(request_pem: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a signing request; whatever names it asks for are nobody's business.

    Raises:
        BadRequestError: it is not one, its key is not P-256, or who asks does not have the key.
    """
    try:
        request = x509.load_pem_x509_csr(request_pem)
        key = request.public_key()
        is_signed = request.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise BadRequestError(f"not a certificate signing request: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise BadRequestError("the request's key is not an ECDSA key on P-256")
    if not is_signed:
        raise BadRequestError("the request is not signed with the key that is in it")
    return key


def self_signed_root(
    trust_domain: str, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.Certificate:
    """A root of a trust domain."""
    name = _ca_name(trust_domain, "root")
    builder = _ca(trust_domain, name, name, key.public_key(), begins, ends, path_length=1)
    return builder.sign(key, _SHA256)


def intermediate(
    trust_domain: str,
    key: ec.EllipticCurvePrivateKey,
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    begins: datetime,
    ends: datetime,
) -> x509.Certificate:
    """A certificate authority below a root, for workloads alone.

    It has no name constraints: those on URIs are critical, and verifiers that do not know them
    refuse the chain. The roots of a mesh are trusted by its proxies alone.
    """
    name = _ca_name(trust_domain, "issuing")
    return (
        _ca(trust_domain, name, root.subject, key.public_key(), begins, ends, path_length=0)
        .add_extension(_issued_by(root), critical=False)
        .sign(root_key, _SHA256)
    )


def workload_certificate(
    identity: Identity,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    issuer_key: SigningKey,
    begins: datetime,
    ends: datetime,
) -> x509.Certificate:
    """The X.509-SVID of an identity: one URI and no other name (SPIFFE X.509-SVID, 2 and 4)."""
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.spiffe_id)])
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        # Critical, as there is no subject (RFC 5280, 4.2.1.6).
        .add_extension(name, critical=True)
        .add_extension(_issued_by(issuer), critical=False)
        .sign(issuer_key, _SHA256)
    )


def uris(certificate: x509.Certificate) -> list[str]:
    """The URIs among its names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def signing_key(pem: bytes) -> SigningKey:
    """The private key of a certificate authority, from PEM.

    Raises:
        ValueError: it is none, is encrypted, or is neither ECDSA nor RSA of at least 2048 bits.
    """
    try:
        key = serialization.load_pem_private_key(pem, None)
    except TypeError:
        raise ValueError("it is encrypted; store it without a password") from None
    except UnsupportedAlgorithm:
        raise ValueError("its algorithm is not known") from None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    raise ValueError("it is neither an ECDSA key nor an RSA key of 2048 bits or more")


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """What the issuer calls its key, which others compute in other ways than we do."""
    try:
        named = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        named = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(named)


def _ca_name(trust_domain: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"culvert {role}"),
            # Two roots of one domain must not be taken for each other.
            x509.NameAttribute(NameOID.SERIAL_NUMBER, f"{x509.random_serial_number():x}"[:16]),
        ]
    )


def _ca(
    trust_domain: str,
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: datetime,
    ends: datetime,
    *,
    path_length: int,
) -> x509.CertificateBuilder:
    domain = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(domain, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
