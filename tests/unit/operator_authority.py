"""What an operator provides: authorities of any shape, right and wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Made:
    """A certificate and its key; ``name`` is that of the subject."""

    name: str
    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )


def make(
    name: str,
    issuer: Made | None = None,
    *,
    key: Key | None = None,
    begins: datetime = START - DAY,
    ends: datetime = START + 100 * DAY,
    is_authority: bool | None = True,
    path_length: int | None = None,
    usages: list[x509.ObjectIdentifier] | None = None,
    uri: str = "",
    may_sign: bool = True,
    key_id: bytes = b"",
) -> Made:
    """A certificate as other tools make them; ``is_authority`` None: nothing is said of it."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if is_authority is not None:
        constraints = x509.BasicConstraints(is_authority, path_length if is_authority else None)
        builder = builder.add_extension(constraints, critical=True)
    bits = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=may_sign, **bits)
    builder = builder.add_extension(usage, critical=True)
    own_id = x509.SubjectKeyIdentifier(key_id) if key_id else _key_id(key)
    builder = builder.add_extension(own_id, critical=False)
    if issuer is not None:
        above = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above.value),
            critical=False,
        )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    return Made(name, signed, key)


def _key_id(key: Key) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def files(signing: Made, *between: Made, roots: tuple[Made, ...]) -> dict[str, bytes]:
    """As cert-manager writes them into a Secret."""
    return {
        "tls.crt": b"".join(one.pem for one in (signing, *between)),
        "tls.key": signing.key_pem,
        "ca.crt": b"".join(one.pem for one in roots),
    }
