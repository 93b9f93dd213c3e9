"""Asks the certificate authority: over the Unix socket of this node, or at the controller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import aiohttp
import msgspec

from culvert.identity.wire import (
    BUNDLE_PATH,
    CERTIFICATES_PATH,
    UNREACHABLE,
    BundleAnswer,
    CertificateAnswer,
    CertificateRequest,
)
from culvert.kube.connection import words_of
from culvert.leader.connection import ControllerConnection, ControllerError
from culvert.model.identity import Identity
from culvert.model.refusal import Refusal

_SECONDS = 10.0

_T = TypeVar("_T")


class IssuerError(Exception):
    """Nothing was given; ``reason`` is one word: the refusal's own, or ``Unreachable``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Issuer(Protocol):
    """Who gives certificates."""

    async def issue(self, identity: Identity, request_pem: bytes) -> CertificateAnswer:
        """A certificate for the key of a signing request. Raises ``IssuerError``."""

    async def bundle(self) -> BundleAnswer:
        """The roots to trust. Raises ``IssuerError``."""


class _Asking:
    """Speaks the protocol; how a request gets there is for others to say."""

    async def issue(self, identity: Identity, request_pem: bytes) -> CertificateAnswer:
        """A certificate for the key of a signing request.

        Raises:
            IssuerError: it was refused, or nobody answers.
        """
        asked = CertificateRequest(identity.spiffe_id, request_pem.decode())
        answer = await self._request("POST", CERTIFICATES_PATH, msgspec.json.encode(asked))
        return read_answer(*answer, CertificateAnswer)

    async def bundle(self) -> BundleAnswer:
        """The roots to trust.

        Raises:
            IssuerError: nobody answers.
        """
        return read_answer(*await self._request("GET", BUNDLE_PATH, None), BundleAnswer)

    async def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body of the answer. Raises ``IssuerError``."""
        raise NotImplementedError


class SocketIssuer(_Asking):
    """The authority behind a Unix socket, which knows by the socket which node asks."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        connector = aiohttp.UnixConnector(str(self._socket))
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
                http.request(method, f"http://ca{path}", data=body) as answer,
            ):
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
            raise IssuerError(
                UNREACHABLE,
                f"no certificate authority answers at {self._socket}: {words_of(cause)}",
            ) from None


class ControllerIssuer(_Asking):
    """The controller that leads; ``connection`` gives the way there, None before there is one."""

    def __init__(self, connection: Callable[[], ControllerConnection | None]) -> None:
        self._connection = connection

    async def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = self._connection()
        if connection is None:
            raise IssuerError(UNREACHABLE, "there is no way to the controller yet")
        try:
            return await connection.request(method, path, body)
        except ControllerError as error:
            raise IssuerError(UNREACHABLE, str(error)) from None


def read_answer(status: int, body: bytes, kind: type[_T]) -> _T:
    """The answer, of the ``kind`` of struct that was asked for.

    Raises:
        IssuerError: it is a refusal, or no answer of an authority.
    """
    try:
        if status == 200:
            return msgspec.json.decode(body, type=kind)
        refusal = msgspec.json.decode(body, type=Refusal)
    except msgspec.MsgspecError:
        raise IssuerError(
            "Unreadable", f"an answer {status} that no certificate authority gives"
        ) from None
    raise IssuerError(refusal.reason, refusal.message)
