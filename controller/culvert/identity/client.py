"""Asks the certificate authority, over the Unix socket of this node."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

import aiohttp
import msgspec

from culvert.identity.wire import (
    BUNDLE_PATH,
    CERTIFICATES_PATH,
    BundleAnswer,
    CertificateAnswer,
    CertificateRequest,
)
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


class SocketIssuer:
    """The authority behind a Unix socket, which knows by the socket which node asks."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def issue(self, identity: Identity, request_pem: bytes) -> CertificateAnswer:
        """A certificate for the key of a signing request.

        Raises:
            IssuerError: it was refused, or nobody answers.
        """
        asked = CertificateRequest(identity.spiffe_id, request_pem.decode())
        return await self._call("POST", CERTIFICATES_PATH, asked, CertificateAnswer)

    async def bundle(self) -> BundleAnswer:
        """The roots to trust.

        Raises:
            IssuerError: nobody answers.
        """
        return await self._call("GET", BUNDLE_PATH, None, BundleAnswer)

    async def _call(
        self, method: str, path: str, body: msgspec.Struct | None, kind: type[_T]
    ) -> _T:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        connector = aiohttp.UnixConnector(str(self._socket))
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
                http.request(method, f"http://ca{path}", data=data) as answer,
            ):
                return read_answer(answer.status, await answer.read(), kind)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise IssuerError(
                "Unreachable", f"no certificate authority answers at {self._socket}: {error!r}"
            ) from None


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
