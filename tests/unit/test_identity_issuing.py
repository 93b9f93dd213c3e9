"""The service that hands certificates out, asked through its socket by the agents' own client."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from culvert.identity.authority import Authority, Lifetimes
from culvert.identity.certificate import read_certificate
from culvert.identity.client import ControllerIssuer, IssuerError, SocketIssuer, read_answer
from culvert.identity.holder import AuthorityHolder
from culvert.identity.issuing import make_issuing_application
from culvert.identity.wire import CERTIFICATES_PATH, MAX_REQUEST_BYTES, BundleAnswer
from culvert.identity.x509 import make_request, new_key
from culvert.model.identity import Identity
from culvert.model.refusal import RefusedError
from culvert.status.server import serve

from tests.unit.certificates import certificates_of, uris_of

CLERK = Identity("cluster.local", "shop", "clerk")
COOK = Identity("cluster.local", "shop", "cook")
STRANGER = Identity("elsewhere.test", "shop", "clerk")


async def node_a(_request: web.Request) -> str:
    return "node-a"


async def nobody(_request: web.Request) -> str:
    raise RefusedError(401, "Unauthenticated", "the token is not one")


async def clerks(_node: str, _identity: Identity) -> Collection[tuple[str, str]]:
    return {("shop", "clerk")}


@asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[Path]:
    # Paths of sockets are short.
    with tempfile.TemporaryDirectory() as folder:
        path, listening = Path(folder) / "ca.sock", asyncio.Event()
        task = asyncio.create_task(serve(application, path, listening=listening))
        try:
            await listening.wait()
            yield path
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def authority(answered: Callable[[str], None] = lambda _: None) -> web.Application:
    holder = AuthorityHolder(Authority("cluster.local", Lifetimes()))
    return make_issuing_application(holder, node_a, clerks, answered)


async def reason_of(issuer: SocketIssuer, identity: Identity, request_pem: bytes) -> str:
    with pytest.raises(IssuerError) as caught:
        await issuer.issue(identity, request_pem)
    return caught.value.reason


async def test_node_gets_the_certificate_of_its_pods_and_the_roots_above_it() -> None:
    answers: list[str] = []
    async with serving(authority(answers.append)) as socket:
        issuer, key = SocketIssuer(socket), new_key()
        answer = await issuer.issue(CLERK, make_request(key))
        certificate = read_certificate(CLERK, key, answer)
        roots = await issuer.bundle()
    assert uris_of(certificate.chain_pem) == [CLERK.spiffe_id]
    assert certificate.ends_seconds == answer.ends_seconds
    assert certificates_of(roots.bundle) == certificates_of(answer.bundle)
    assert answers == ["Issued"]


async def test_what_is_not_on_the_node_or_not_of_the_mesh_is_refused_and_counted() -> None:
    answers: list[str] = []
    async with serving(authority(answers.append)) as socket:
        issuer = SocketIssuer(socket)
        assert await reason_of(issuer, COOK, make_request(new_key())) == "NotOnNode"
        assert await reason_of(issuer, STRANGER, make_request(new_key())) == "OtherTrustDomain"
        assert await reason_of(issuer, CLERK, b"no request") == "BadRequest"
        assert await reason_of(issuer, CLERK, b" " * MAX_REQUEST_BYTES) == "TooLarge"
    assert answers == ["NotOnNode", "OtherTrustDomain", "BadRequest", "TooLarge"]


async def test_key_of_another_kind_is_refused() -> None:
    key = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    async with serving(authority()) as socket:
        pem = request.public_bytes(serialization.Encoding.PEM)
        assert await reason_of(SocketIssuer(socket), CLERK, pem) == "BadRequest"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"identity": "spiffe://x", "request": ""}', b"\xff\x00"]
)
async def test_what_is_not_a_request_is_told_so(body: bytes) -> None:
    async with (
        serving(authority()) as socket,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as http,
        http.post(f"http://ca{CERTIFICATES_PATH}", data=body) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["reason"] == "Unreadable"


async def test_caller_that_is_not_known_gets_neither_certificates_nor_roots() -> None:
    holder = AuthorityHolder(Authority("cluster.local", Lifetimes()))
    async with serving(make_issuing_application(holder, nobody, clerks)) as socket:
        issuer = SocketIssuer(socket)
        assert await reason_of(issuer, CLERK, make_request(new_key())) == "Unauthenticated"
        with pytest.raises(IssuerError):
            await issuer.bundle()


async def test_authority_that_is_away_is_named_by_its_socket(tmp_path: Path) -> None:
    with pytest.raises(IssuerError, match=str(tmp_path)) as caught:
        await SocketIssuer(tmp_path / "ca.sock").bundle()
    assert caught.value.reason == "Unreachable"


async def test_controller_that_is_not_known_yet_is_unreachable() -> None:
    with pytest.raises(IssuerError) as caught:
        await ControllerIssuer(lambda: None).bundle()
    assert caught.value.reason == "Unreachable"


@pytest.mark.parametrize("status", [200, 403, 500])
@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"bundle": 1}'])
def test_answer_of_something_else_is_no_answer(status: int, body: bytes) -> None:
    with pytest.raises(IssuerError) as caught:
        read_answer(status, body, BundleAnswer)
    assert caught.value.reason == "Unreadable"
