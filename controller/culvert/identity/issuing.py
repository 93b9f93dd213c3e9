"""Who may have which certificate, and the service that hands them out.

``POST /v1/certificates`` makes one for a signing request, ``GET /v1/bundle`` gives the roots. The
caller is known before either is asked: by its token, or by the socket it comes through.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime

import msgspec
import structlog
from aiohttp import web

from culvert.identity.holder import Holder
from culvert.identity.wire import (
    BUNDLE_PATH,
    CERTIFICATES_PATH,
    MAX_REQUEST_BYTES,
    BundleAnswer,
    CertificateAnswer,
    CertificateRequest,
)
from culvert.identity.x509 import BadRequestError
from culvert.model.identity import Identity, parse_spiffe_id
from culvert.model.refusal import Refusal, RefusedError

_log = structlog.get_logger(__name__)

_REQUEST = msgspec.json.Decoder(CertificateRequest)

NodeOf = Callable[[web.Request], Awaitable[str]]
"""The node that calls. Raises ``RefusedError``."""

AccountsOn = Callable[[str, Identity], Awaitable[Collection[tuple[str, str]]]]
"""Namespace and name of the service accounts of the pods that are scheduled on a node.

What is remembered will do where it has the identity that is asked for; else it is read anew, once.
Raises ``RefusedError`` where nobody can say.
"""


def judge(
    node: str, identity: Identity, on_node: Collection[tuple[str, str]], trust_domain: str
) -> None:
    """Whether a node may have the certificate of an identity: only while one of its pods has it.

    ``on_node`` are the service accounts of its pods, by namespace and name.

    Raises:
        RefusedError: it may not.
    """
    if identity.trust_domain != trust_domain:
        raise RefusedError(
            403,
            "OtherTrustDomain",
            f"{identity} is not of the trust domain {trust_domain}, for which alone certificates "
            "are issued",
        )
    if (identity.namespace, identity.service_account) not in on_node:
        raise RefusedError(
            403, "NotOnNode", f"no pod on node {node} runs as {identity}; nothing was issued"
        )


def make_issuing_application(
    holder: Holder,
    node_of: NodeOf,
    accounts_on: AccountsOn,
    answered: Callable[[str], None] = lambda _: None,
) -> web.Application:
    """The service; ``answered`` is told ``Issued`` or a refusal's reason each time."""
    application = web.Application()
    add_issuing(application, holder, node_of, accounts_on, answered)
    return application


def add_issuing(
    application: web.Application,
    holder: Holder,
    node_of: NodeOf,
    accounts_on: AccountsOn,
    answered: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve it beside what the application serves already."""

    async def answer(
        request: web.Request, serve: Callable[[web.Request, str], Awaitable[msgspec.Struct]]
    ) -> web.Response:
        node = ""
        try:
            node = await node_of(request)
            return _response(200, await serve(request, node))
        except RefusedError as refused:
            answered(refused.reason)
            _log.warning("refused", node=node, reason=refused.reason, message=str(refused))
            body = Refusal(reason=refused.reason, message=str(refused))
            return _response(refused.status, body)

    async def issue(request: web.Request, node: str) -> CertificateAnswer:
        asked, identity = await _read(request)
        on_node = await accounts_on(node, identity)
        authority = holder.advance()
        judge(node, identity, on_node, authority.trust_domain)
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
        return await answer(request, issue)

    async def get(request: web.Request) -> web.Response:
        return await answer(request, bundle)

    application.router.add_post(CERTIFICATES_PATH, post)
    application.router.add_get(BUNDLE_PATH, get)


async def _read(request: web.Request) -> tuple[CertificateRequest, Identity]:
    """Read what is asked for. Raises ``RefusedError``."""
    try:
        # The application's own limit is for what else it serves.
        body = await request.clone(client_max_size=MAX_REQUEST_BYTES).read()
        asked = _REQUEST.decode(body)
        return asked, parse_spiffe_id(asked.identity)
    except web.HTTPRequestEntityTooLarge:
        limit = f"a request has at most {MAX_REQUEST_BYTES} bytes"
        raise RefusedError(413, "TooLarge", limit) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise RefusedError(400, "Unreadable", f"this is not a request: {error}") from None


def _response(status: int, body: msgspec.Struct) -> web.Response:
    response = web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )
    # As reports do: an open connection with TLS occupies 290 KiB.
    response.force_close()
    return response
