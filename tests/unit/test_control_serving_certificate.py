from __future__ import annotations

import ssl

import pytest
from culvert.control.serving_certificate import ServingCertificate, make_serving_certificate
from culvert.model.report import server_name

NAMESPACE, SERVICE = "culvert-system", "culvert-controller"
NAME = server_name(NAMESPACE, SERVICE)


def trusting(certificate: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate)


def shake_hands(serving: ServingCertificate, client: ssl.SSLContext, name: str) -> str:
    """Over memory; the version of TLS that both agree on.

    Raises:
        ssl.SSLError: they do not agree.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(down, up, server_hostname=name)
    answering = serving.context.wrap_bio(up, down, server_side=True)
    left = [asking, answering]
    for _ in range(10):
        for side in list(left):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            left.remove(side)
    assert not left
    return str(asking.version())


def test_who_trusts_the_published_certificate_reaches_the_service_by_name() -> None:
    made = make_serving_certificate(NAMESPACE, SERVICE)
    assert shake_hands(made, trusting(made.certificate), NAME) == "TLSv1.3"


def test_another_processs_certificate_is_not_trusted() -> None:
    one, another = (make_serving_certificate(NAMESPACE, SERVICE) for _ in range(2))
    with pytest.raises(ssl.SSLError):
        shake_hands(one, trusting(another.certificate), NAME)


def test_certificate_is_good_for_no_other_name() -> None:
    made = make_serving_certificate(NAMESPACE, SERVICE)
    with pytest.raises(ssl.SSLError):
        shake_hands(made, trusting(made.certificate), server_name("other", SERVICE))


def test_older_tls_is_refused() -> None:
    made = make_serving_certificate(NAMESPACE, SERVICE)
    old = trusting(made.certificate)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(made, old, NAME)


def test_key_is_not_published() -> None:
    assert "PRIVATE" not in make_serving_certificate(NAMESPACE, SERVICE).certificate


def test_name_of_a_service_may_be_long() -> None:
    namespace, service = "n" * 63, "s" * 63
    made = make_serving_certificate(namespace, service)
    assert shake_hands(made, trusting(made.certificate), server_name(namespace, service))
