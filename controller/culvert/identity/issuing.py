"""Who may have which certificate, and the service that hands them out.

``POST /v1/certificates`` makes one for a signing request, ``GET /v1/bundle`` gives the roots. The
caller is known before either is asked: by its token, or by the socket it comes through.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import structlog
from aiohttp import web

from culvert.identity.authority import Authority
from culvert.identity.wire import (
    BUNDLE_PATH,
    CERTIFICATES_PATH,
    MAX_REQUEST_BYTES,
    BundleAnswer,
    CertificateAnswer,
    CertificateRequest,
    RefusalAnswer,
)
from culvert.identity.x509 import BadRequestError
from culvert.model.identity import Identity, parse_spiffe_id

_log = structlog.get_logger(__name__)

_REQUEST = msgspec.json.Decoder(CertificateRequest)

NodeOf = Callable[[web.Request], Awaitable[str]]
"""The node that calls. Raises ``RefusedError``."""

IdentitiesOn = Callable[[str], Awaitable[Collection[Identity]]]
"""The identities of the pods that are scheduled on a node."""


class RefusedError(Exception):
    """A caller gets nothing; ``status`` and ``reason`` are those of the answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class AuthorityHolder:
    """The authority as it is now; ``advance`` keeps it so. ``changed`` is told of new signers."""

    authority: Authority
    changed: Callable[[Authority], None] = lambda _: None

    def advance(self) -> Authority:
        """Bring the authority to this moment."""
        now = self.authority.advanced(datetime.now(UTC))
        if now is not self.authority:
            self.authority = now
            _log.info("certificate authority changed", roots=len(now.signers))
            self.changed(now)
        return now


def judge(node: str, identity: Identity, on_node: Collection[Identity]) -> None:
    """Whether a node may have the certificate of an identity: only while one of its pods has it.

    Raises:
        RefusedError: it may not.
    """
    if identity not in on_node:
        raise RefusedError(
            403, "NotOnNode", f"no pod on node {node} runs as {identity}; nothing was issued"
        )


def make_issuing_application(
    holder: AuthorityHolder,
    node_of: NodeOf,
    identities_on: IdentitiesOn,
    answered: Callable[[str], None] = lambda _: None,
) -> web.Application:
    """The service; ``answered`` is told ``Issued`` or a refusal's reason each time."""
    application = web.Application(client_max_size=MAX_REQUEST_BYTES)
    add_issuing(application, holder, node_of, identities_on, answered)
    return application


def add_issuing(
    application: web.Application,
    holder: AuthorityHolder,
    node_of: NodeOf,
    identities_on: IdentitiesOn,
    answered: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve it beside what the application serves already."""

    async def refusing(
        request: web.Request, serve: Callable[[web.Request, str], Awaitable[msgspec.Struct]]
    ) -> web.Response:
        node = ""
        try:
            node = await node_of(request)
            return _response(200, await serve(request, node))
        except RefusedError as refused:
            answered(refused.reason)
            _log.warning("refused", node=node, reason=refused.reason, message=str(refused))
            return _response(refused.status, RefusalAnswer(refused.reason, str(refused)))

    async def issue(request: web.Request, node: str) -> CertificateAnswer:
        try:
            asked = _REQUEST.decode(await request.read())
            identity = parse_spiffe_id(asked.identity)
        except (msgspec.MsgspecError, ValueError) as error:
            raise RefusedError(400, "Unreadable", f"this is not a request: {error}") from None
        judge(node, identity, await identities_on(node))
        authority = holder.advance()
        try:
            issued = authority.issue(asked.request.encode(), identity, datetime.now(UTC))
        except BadRequestError as error:
            raise RefusedError(400, "BadRequest", str(error)) from None
        answered("Issued")
        _log.info(
            "certificate issued",
            identity=identity.spiffe_id,
            node=node,
            serial=f"{issued.serial:x}",
            ends=issued.ends.isoformat(),
        )
        return CertificateAnswer(
            chain=issued.chain_pem.decode(),
            bundle=authority.bundle_pem.decode(),
            begins_seconds=issued.begins.timestamp(),
            ends_seconds=issued.ends.timestamp(),
        )

    async def bundle(_request: web.Request, _node: str) -> BundleAnswer:
        return BundleAnswer(bundle=holder.advance().bundle_pem.decode(), now_seconds=time.time())

    async def post(request: web.Request) -> web.Response:
        return await refusing(request, issue)

    async def get(request: web.Request) -> web.Response:
        return await refusing(request, bundle)

    application.router.add_post(CERTIFICATES_PATH, post)
    application.router.add_get(BUNDLE_PATH, get)


def _response(status: int, body: msgspec.Struct) -> web.Response:
    response = web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )
    response.force_close()
    return response
