from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from culvert.identity.provided import ProvidedError, read_provided
from culvert.identity.x509 import make_request, new_key
from culvert.model.identity import Identity

from tests.unit.certificates import certificates_of, is_trusted, uris_of
from tests.unit.operator_authority import DAY, START, Made, files, make

DOMAIN = "cluster.local"
CLERK = Identity(DOMAIN, "shop", "clerk")
LIFE = timedelta(hours=24)
ROOT = make("root")
SIGNING = make("signing", ROOT)
POLICY = make("policy", ROOT)
BELOW = make("below", POLICY)


def issued_by(provided: dict[str, bytes]) -> bytes:
    """The chain of a certificate, which the roots that are handed out have been seen to trust."""
    authority = read_provided(provided, DOMAIN, LIFE, START)
    issued = authority.issue(make_request(new_key()), CLERK, START)
    assert is_trusted(issued.chain_pem, authority.bundle_pem, START)
    assert uris_of(issued.chain_pem) == [CLERK.spiffe_id]
    return issued.chain_pem


@pytest.mark.parametrize(
    ("provided", "length"),
    [
        (files(SIGNING, roots=(ROOT,)), 2),
        (files(SIGNING, ROOT, roots=(ROOT,)), 2),
        (files(BELOW, POLICY, roots=(ROOT,)), 3),
        (files(BELOW, ROOT, POLICY, roots=(ROOT,)), 3),
        (files(ROOT, roots=(ROOT,)), 1),
        (files(SIGNING, roots=(make("another"), ROOT)), 2),
        (files(SIGNING, roots=(make("over", ends=START - timedelta(1)), ROOT)), 2),
        (files(make("limited", ROOT, path_length=0), roots=(ROOT,)), 2),
        (files(make("ours", ROOT, uri=f"spiffe://{DOMAIN}"), roots=(ROOT,)), 2),
        (files(make("web", ROOT, uri="https://example.org"), roots=(ROOT,)), 2),
        (files(make("id", ROOT, key_id=b"\x01" * 20), roots=(ROOT,)), 2),
        (files(make("P-384", ROOT, key=ec.generate_private_key(ec.SECP384R1())), roots=(ROOT,)), 2),
        (files(make("RSA", ROOT, key=rsa.generate_private_key(65537, 2048)), roots=(ROOT,)), 2),
        (
            files(
                make(
                    "usages",
                    ROOT,
                    usages=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
                ),
                roots=(ROOT,),
            ),
            2,
        ),
    ],
    ids=[
        "intermediate",
        "with the root behind it",
        "two below each other",
        "in any order",
        "root itself",
        "several roots",
        "a root that is over",
        "pathlen 0",
        "named for the trust domain",
        "named for the web",
        "key identifier of another kind",
        "P-384",
        "RSA",
        "both usages",
    ],
)
def test_authority_of_an_operator_issues_what_its_roots_trust(
    provided: dict[str, bytes], length: int
) -> None:
    assert len(certificates_of(issued_by(provided))) == length, "never with the root"


def test_certificate_ends_before_anything_that_it_rests_on() -> None:
    root = make("root", ends=START + timedelta(hours=3))
    provided = files(make("signing", root), roots=(root,))
    authority = read_provided(provided, DOMAIN, LIFE, START)
    issued = authority.issue(make_request(new_key()), CLERK, START)
    assert issued.ends == authority.ends == START + timedelta(hours=3)


def without(name: str) -> dict[str, bytes]:
    provided = files(SIGNING, roots=(ROOT,))
    del provided[name]
    return provided


def with_file(name: str, content: bytes) -> dict[str, bytes]:
    return files(SIGNING, roots=(ROOT,)) | {name: content}


def below_root(**how: object) -> dict[str, bytes]:
    return files(make("signing", ROOT, **how), roots=(ROOT,))  # type: ignore[arg-type]


def encrypted(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


SHORT = make("short", path_length=0)
ONE_USAGE = [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize(
    ("provided", "words"),
    [
        (without("tls.crt"), r"^tls\.crt is missing; store certificates"),
        (without("tls.key"), r"^tls\.key is missing; store the key"),
        (without("ca.crt"), r"^ca\.crt is missing"),
        (with_file("tls.crt", b"x"), r"^tls\.crt holds no certificate"),
        (with_file("ca.crt", b"x"), r"^ca\.crt holds no certificate"),
        (with_file("tls.key", b"x"), r"^tls\.key cannot be used"),
        (with_file("tls.key", encrypted(new_key())), "encrypted; store it without a password"),
        (with_file("tls.key", ROOT.key_pem), r"^tls\.key is not the key of the first"),
        (below_root(key=rsa.generate_private_key(65537, 1024)), "RSA key of 2048 bits"),
        (below_root(is_authority=False), "'CN=signing' is not a certificate authority; make it"),
        (below_root(is_authority=None), "is not a certificate authority"),
        (below_root(may_sign=False), "is not a certificate authority"),
        (below_root(ends=START), "'CN=signing' has ended at 2030-01-01T00:00:00"),
        (below_root(begins=START + DAY), "does not hold before 2030-01-02"),
        (below_root(uri="spiffe://example.org"), "spiffe://example.org, and the trust domain is"),
        (below_root(uri=f"spiffe://{DOMAIN}/ns/a/sa/b"), "is of an authority for spiffe://cluster"),
        (below_root(usages=ONE_USAGE), "is not for servers and clients; make it without"),
        (files(SIGNING, roots=(make("root"),)), r"^tls\.crt leads to no root in ca\.crt"),
        (files(BELOW, roots=(ROOT,)), "nobody there has issued 'CN=below'; put the certificates"),
        (files(SIGNING, roots=(make("over", ends=START - timedelta(1)),)), "no root that has not"),
        (files(make("below", SHORT), roots=(SHORT,)), "'CN=short' allows 0 authorities below it"),
        (
            files(BELOW, make("policy", ROOT, key=POLICY.key, ends=START), roots=(ROOT,)),
            r"^tls\.crt 'CN=policy' has ended",
        ),
        (
            files(make("signing", make("leaf", is_authority=False)), roots=(make("leaf"),)),
            "leads to no root",
        ),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line_with_the_remedy(
    provided: dict[str, bytes], words: str
) -> None:
    with pytest.raises(ProvidedError, match=words) as refused:
        read_provided(provided, DOMAIN, LIFE, START)
    assert "; " in str(refused.value)
    assert "PRIVATE" not in str(refused.value)


def test_authorities_that_have_issued_each_other_lead_nowhere() -> None:
    first = make("first")
    second = make("second", first)
    again = make("first", second, key=first.key)
    provided = files(Made("first", again.certificate, first.key), second, again, roots=(ROOT,))
    with pytest.raises(ProvidedError, match="leads to no root"):
        read_provided(provided, DOMAIN, LIFE, START)
