from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from culvert.identity.authority import Authority, Lifetimes, read_signers, write_signers
from culvert.identity.x509 import BadRequestError, make_request, new_key
from culvert.model.identity import Identity
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.certificates import certificates_of, is_trusted, uris_of

DOMAIN = "cluster.local"
CLERK = Identity(DOMAIN, "shop", "clerk")
START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIFETIMES = Lifetimes()
REQUEST = make_request(new_key())


def authority(lifetimes: Lifetimes = LIFETIMES) -> Authority:
    return Authority(DOMAIN, lifetimes).advanced(START)


def request_for(*names: x509.GeneralName, subject: str = "") -> bytes:
    attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = builder.sign(new_key(), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def test_certificate_is_an_svid_of_the_identity_and_trusted_by_the_bundle() -> None:
    ca = authority()
    key = new_key()
    issued = ca.issue(make_request(key), CLERK, START)
    assert is_trusted(issued.chain_pem, ca.bundle_pem, START)
    leaf, issuing = certificates_of(issued.chain_pem)
    assert uris_of(issued.chain_pem) == [CLERK.spiffe_id]
    assert leaf.public_key() == key.public_key()
    assert list(leaf.subject) == []
    assert leaf.serial_number == issued.serial
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca) == (True, False)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.key_agreement
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {one.dotted_string for one in extended} == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}
    above = issuing.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (above.ca, above.path_length) == (True, 0)
    assert uris_of_any(issuing) == [f"spiffe://{DOMAIN}"]


def uris_of_any(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(one.value) for one in names]


def test_certificate_begins_a_minute_before_and_lasts_as_long_as_was_said() -> None:
    issued = authority(Lifetimes(certificate=HOUR)).issue(REQUEST, CLERK, START + DAY)
    assert issued.begins == START + DAY - timedelta(seconds=60)
    assert issued.ends == START + DAY + HOUR


def test_no_certificate_outlives_what_it_rests_on() -> None:
    ca = authority(Lifetimes(certificate=30 * DAY, intermediate=2 * DAY))
    issued = ca.issue(REQUEST, CLERK, START + HOUR)
    assert issued.ends == certificates_of(issued.chain_pem)[1].not_valid_after_utc


def test_serials_are_not_to_be_guessed() -> None:
    ca = authority()
    serials = {ca.issue(REQUEST, CLERK, START).serial for _ in range(20)}
    assert len(serials) == 20
    assert min(serials).bit_length() > 64


@pytest.mark.parametrize(
    "request_pem",
    [
        request_for(subject="admin"),
        request_for(x509.DNSName("kubernetes.default.svc")),
        request_for(x509.UniformResourceIdentifier("spiffe://cluster.local/ns/kube-system/sa/x")),
    ],
    ids=["subject", "DNS name", "another's identity"],
)
def test_names_that_a_request_asks_for_are_ignored(request_pem: bytes) -> None:
    ca = authority()
    issued = ca.issue(request_pem, CLERK, START)
    assert uris_of(issued.chain_pem) == [CLERK.spiffe_id]
    leaf = certificates_of(issued.chain_pem)[0]
    assert list(leaf.subject) == []
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert is_trusted(issued.chain_pem, ca.bundle_pem, START)


def signed_by_another() -> bytes:
    """A request whose signature was made with a key that is not the one in it."""
    mine, others = (
        x509.load_pem_x509_csr(make_request(new_key())),
        x509.load_pem_x509_csr(make_request(new_key())),
    )
    der = others.public_bytes(serialization.Encoding.DER)
    forged = der.replace(others.tbs_certrequest_bytes, mine.tbs_certrequest_bytes)
    assert forged != der
    loaded = x509.load_der_x509_csr(forged)
    return loaded.public_bytes(serialization.Encoding.PEM)


def with_key(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("request_pem", "words"),
    [
        (b"", "not a certificate signing request"),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "not a",
        ),
        (signed_by_another(), "not signed with the key"),
        (with_key(rsa.generate_private_key(65537, 2048)), "not an ECDSA key on P-256"),
        (with_key(ec.generate_private_key(ec.SECP384R1())), "not an ECDSA key on P-256"),
    ],
    ids=["nothing", "no request", "no proof of possession", "RSA", "P-384"],
)
def test_request_that_cannot_be_granted_is_refused(request_pem: bytes, words: str) -> None:
    with pytest.raises(BadRequestError, match=words):
        authority().issue(request_pem, CLERK, START)


def test_identity_of_another_trust_domain_is_refused() -> None:
    with pytest.raises(BadRequestError, match="not of cluster"):
        authority().issue(REQUEST, Identity("example.org", "shop", "clerk"), START)


def test_authority_that_is_written_and_read_goes_on() -> None:
    ca = authority()
    issued = ca.issue(REQUEST, CLERK, START)
    again = Authority(DOMAIN, LIFETIMES, read_signers(write_signers(ca.signers)))
    assert again.advanced(START + HOUR) is again
    assert is_trusted(issued.chain_pem, again.bundle_pem, START)
    assert is_trusted(again.issue(REQUEST, CLERK, START).chain_pem, ca.bundle_pem, START)


def spoiled(name: str, value: bytes | None) -> dict[str, bytes]:
    files = write_signers(authority().signers)
    if value is None:
        del files[name]
    else:
        files[name] = value
    return files


OTHERS = write_signers(authority().signers)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "root-0.crt is missing"),
        (spoiled("root-0.key", None), "root-0.key is missing"),
        (spoiled("issuing-0.crt", None), "issuing-0.crt is missing"),
        (spoiled("root-0.crt", b"x"), "root-0.crt is not a certificate"),
        (spoiled("issuing-0.key", b"x"), "issuing-0.key is not a key"),
        (spoiled("root-0.key", OTHERS["root-0.key"]), "root-0.key is not the key of root-0.crt"),
        (spoiled("issuing-0.key", OTHERS["root-0.key"]), "is not the key of issuing-0.crt"),
        (
            spoiled("root-0.crt", OTHERS["root-0.crt"]) | {"root-0.key": OTHERS["root-0.key"]},
            "issuing-0.crt is not of its root",
        ),
    ],
)
def test_state_that_is_damaged_is_told_in_words(files: dict[str, bytes], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_signers(files)


def test_intermediate_is_renewed_below_the_same_root() -> None:
    ca = authority()
    before = ca.issue(REQUEST, CLERK, START)
    later = START + LIFETIMES.intermediate * 0.6
    renewed = ca.advanced(later)
    after = renewed.issue(REQUEST, CLERK, later)
    assert renewed.bundle_pem == ca.bundle_pem
    assert certificates_of(before.chain_pem)[1] != certificates_of(after.chain_pem)[1]
    assert is_trusted(after.chain_pem, ca.bundle_pem, later)


def test_new_trust_domain_has_an_intermediate_of_its_own_below_the_same_root() -> None:
    ca = authority()
    renamed = replace(ca, trust_domain="example.org").advanced(START + HOUR)
    issued = renamed.issue(REQUEST, Identity("example.org", "shop", "clerk"), START + HOUR)
    assert renamed.bundle_pem == ca.bundle_pem
    assert uris_of_any(certificates_of(issued.chain_pem)[1]) == ["spiffe://example.org"]
    assert is_trusted(issued.chain_pem, ca.bundle_pem, START + HOUR)


def test_root_that_is_asked_to_go_passes_its_work_on_without_a_gap() -> None:
    ca = authority()
    asked = START + DAY
    rotating = ca.advanced(asked, roots_since=asked)
    old, both = certificates_of(ca.bundle_pem), certificates_of(rotating.bundle_pem)
    assert both[:1] == old
    assert len(both) == 2
    assert rotating.advanced(asked + HOUR / 4, roots_since=asked) is rotating, "asked once"
    still = rotating.issue(REQUEST, CLERK, asked + HOUR / 4)
    assert is_trusted(still.chain_pem, ca.bundle_pem, asked + HOUR / 4), "nodes may lack the new"
    switched = asked + LIFETIMES.spread
    first = rotating.advanced(switched).issue(REQUEST, CLERK, switched)
    assert not is_trusted(first.chain_pem, ca.bundle_pem, switched)
    assert is_trusted(first.chain_pem, rotating.bundle_pem, switched)
    over = switched + LIFETIMES.certificate + LIFETIMES.spread + HOUR
    assert certificates_of(rotating.advanced(over).bundle_pem) == both[1:]


def test_old_root_stays_as_long_as_certificates_may_once_have_lasted() -> None:
    ca = authority(Lifetimes(certificate=HOUR, longest_certificate=7 * DAY))
    asked = START + DAY
    rotating = ca.advanced(asked, roots_since=asked)
    assert len(rotating.advanced(asked + 7 * DAY).signers) == 2
    assert len(rotating.advanced(asked + 8 * DAY).signers) == 1


def test_order_to_rotate_that_lies_in_the_future_waits() -> None:
    ca = authority()
    assert ca.advanced(START + HOUR, roots_since=START + DAY) is ca


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.1, 12.0), min_size=1, max_size=25))
def test_certificate_is_trusted_by_whoever_fetched_the_roots_in_time(hours: list[float]) -> None:
    """At any two moments within the spread: who has the older bundle trusts the newer leaf."""
    lifetimes = Lifetimes(
        certificate=HOUR * 6, intermediate=HOUR * 20, root=HOUR * 50, spread=HOUR * 4
    )
    ca = Authority(DOMAIN, lifetimes)
    now = START
    live: list[tuple[datetime, bytes]] = []
    for step in hours:
        now += HOUR * step
        # A node fetches the roots, and the last moment comes at which it may still have these.
        earlier = ca.advanced(now)
        ca = earlier.advanced(now + lifetimes.spread)
        live = [(ends, chain) for ends, chain in live if ends > now + lifetimes.spread]
        issued = ca.issue(REQUEST, CLERK, now + lifetimes.spread)
        at = now + lifetimes.spread
        live.append((issued.ends, issued.chain_pem))
        for ends, chain in live:
            assert at < ends
            assert trusted_by_root(chain, earlier.bundle_pem), "who fetched a while ago"
            assert trusted_by_root(chain, ca.bundle_pem), "who fetches now"


def trusted_by_root(chain_pem: bytes, bundle_pem: bytes) -> bool:
    issuing = certificates_of(chain_pem)[1]
    return issuing.issuer in [root.subject for root in certificates_of(bundle_pem)]


def test_keys_are_not_in_what_is_printed() -> None:
    ca = authority()
    shown = repr(ca) + str(ca)
    for name, pem in write_signers(ca.signers).items():
        if name.endswith(".key"):
            assert pem.decode().splitlines()[1] not in shown
    assert "PRIVATE" not in shown
