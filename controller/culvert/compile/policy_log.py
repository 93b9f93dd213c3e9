"""What policies say of requests, as lines of the proxy's log, each one JSON object.

A request that is refused, one that an AUDIT policy matches, and one that a dry run would refuse.
Connections of which only bytes are known are told of by the agent, but for those refused. Another
node that asks for what it may not ask for is told of as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    MetadataFilter,
    ResponseFlagFilter,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from culvert.compile import filter_state
from culvert.compile.access_log import all_of, any_of, to_stdout
from culvert.compile.authorization.requests import ALLOW_FILTER, AUDIT_FILTER, DENY_FILTER

_METADATA = "envoy.filters.http.rbac"
_IN_FORCE, _SHADOW = "enforced", "shadow"
_CALLER = {
    "principal": f"%FILTER_STATE({filter_state.PRINCIPAL}:PLAIN)%",
    "client": f"%FILTER_STATE({filter_state.SOURCE}:PLAIN)%",
    "destination": "%DOWNSTREAM_LOCAL_ADDRESS%",
}
_REQUEST = _CALLER | {
    "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%",
    "path": "%PATH(NQ:PATH)%",
    "status": "%RESPONSE_CODE%",
}

_STREAM = {
    "principal": "%DOWNSTREAM_PEER_URI_SAN%",
    "presented": "%DOWNSTREAM_LOCAL_URI_SAN%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "destination": "%REQ(:AUTHORITY)%",
    "method": "%REQ(:METHOD)%",
    "status": "%RESPONSE_CODE%",
}
_NO_ROUTE = "NR"
"""Envoy, "Response flags"."""


def denied_connection_log() -> list[AccessLog]:
    """A line for each connection that policies refuse."""
    return [_log("denied", "connection", None, _CALLER)]


def denied_stream_log() -> list[AccessLog]:
    """A line for each stream that leads to no pod of this node that the connection was for.

    The proxies of the mesh do not ask for such, but in the moment in which a pod goes.
    """
    no_route = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[_NO_ROUTE]))
    return [_log("denied", "stream", no_route, _STREAM)]


def request_policy_log() -> list[AccessLog]:
    """The log of the listener where policies on requests are enforced.

    ``policy`` is the policy and the index of its rule that matched; it is not there where the
    request is refused as no ALLOW policy matches.
    """
    refused = any_of(
        _verdict(DENY_FILTER, _IN_FORCE, "denied"), _verdict(ALLOW_FILTER, _IN_FORCE, "denied")
    )
    would_refuse = all_of(
        _verdict(DENY_FILTER, _IN_FORCE, "allowed", or_none=True),
        _verdict(ALLOW_FILTER, _IN_FORCE, "allowed", or_none=True),
        any_of(_verdict(DENY_FILTER, _SHADOW, "denied"), _verdict(ALLOW_FILTER, _SHADOW, "denied")),
    )
    return [
        _log("denied", "request", refused, _REQUEST | {"policy": _policy(DENY_FILTER, _IN_FORCE)}),
        _log(
            "audited",
            "request",
            _verdict(AUDIT_FILTER, _SHADOW, "allowed"),
            _REQUEST | {"policy": _policy(AUDIT_FILTER, _SHADOW)},
        ),
        _log(
            "would_deny",
            "request",
            would_refuse,
            _REQUEST | {"policy": _policy(DENY_FILTER, _SHADOW)},
        ),
    ]


def _log(
    event: str, of: str, which: AccessLogFilter | None, fields: Mapping[str, str]
) -> AccessLog:
    return to_stdout(which, {"time": "%START_TIME%", event: of, **fields})


def _policy(judge: str, kind: str) -> str:
    return f"%DYNAMIC_METADATA({_METADATA}:{judge}.{kind}_effective_policy_id)%"


def _verdict(judge: str, kind: str, verdict: str, *, or_none: bool = False) -> AccessLogFilter:
    """Whether a filter came to a verdict, ``allowed`` or ``denied``; or to ``or_none``."""
    matcher = MetadataMatcher(
        filter=_METADATA,
        path=[MetadataMatcher.PathSegment(key=f"{judge}.{kind}_engine_result")],
        value=ValueMatcher(string_match=StringMatcher(exact=verdict)),
    )
    return AccessLogFilter(
        metadata_filter=MetadataFilter(
            matcher=matcher, match_if_key_not_found=BoolValue(value=or_none)
        )
    )
