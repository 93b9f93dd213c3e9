"""Takes the reports of agents: ``POST /v1/reports`` with a token of the agent's pod."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from culvert.control.aggregate import Aggregate
from culvert.control.bearer import Authenticator, calling_node
from culvert.control.cadence import heartbeat_seconds, spread_seconds
from culvert.model.refusal import Refusal, RefusedError
from culvert.model.report import (
    MAX_REPORT_BYTES,
    REPORTS_PATH,
    Acknowledgement,
    NodeReport,
)

_REPORT = msgspec.json.Decoder(NodeReport)


def make_intake(
    aggregate: Aggregate,
    authenticator: Authenticator,
    *,
    answered: Callable[[str], None] = lambda _: None,
    monotonic_seconds: Callable[[], float] = time.monotonic,
) -> web.Application:
    """Return the application; ``answered`` is told ``Taken`` or a refusal's reason each time."""

    def refuse(status: int, reason: str, message: str) -> web.Response:
        answered(reason)
        return _response(status, Refusal(reason=reason, message=message))

    async def take(request: web.Request) -> web.Response:
        try:
            node = await calling_node(request, authenticator)
            report = _REPORT.decode(await request.read())
        except RefusedError as refused:
            return refuse(refused.status, refused.reason, str(refused))
        except web.HTTPRequestEntityTooLarge:
            limit = f"a report has at most {MAX_REPORT_BYTES} bytes"
            return refuse(413, "TooLarge", limit)
        except msgspec.MsgspecError as error:
            return refuse(400, "Unreadable", f"this is not a report: {error}")
        if report.node != node:
            return refuse(
                403, "Forbidden", f"the token is node {node}'s; it may not report for {report.node}"
            )
        if not aggregate.take(report, monotonic_seconds()):
            return refuse(409, "SendFull", "this adds to what is not known here; report in full")
        answered("Taken")
        nodes = aggregate.node_count
        acknowledgement = Acknowledgement(
            spread_seconds=spread_seconds(nodes), heartbeat_seconds=heartbeat_seconds(nodes)
        )
        return _response(200, acknowledgement)

    application = web.Application(client_max_size=MAX_REPORT_BYTES)
    application.router.add_post(REPORTS_PATH, take)
    return application


def _response(status: int, body: Acknowledgement | Refusal) -> web.Response:
    response = web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )
    # Open, a connection with TLS occupies 290 KiB (asyncio's read buffer alone is 256), and all
    # nodes have news together: 5,000 of them kept 1.5 GiB. To connect anew costs a millisecond.
    response.force_close()
    return response
