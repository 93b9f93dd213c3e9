"""How traffic to a Service is carried: what may be said of it, each item by itself.

Durations are seconds; 0 is no limit. ``None`` always means that nothing was said.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class RetryCondition(StrEnum):
    """When a request may be sent again: a part of Envoy's ``retry_on``, by the same names."""

    CONNECT_FAILURE = "connect-failure"
    REFUSED_STREAM = "refused-stream"
    RESET_BEFORE_REQUEST = "reset-before-request"
    RESET = "reset"
    GATEWAY_ERROR = "gateway-error"
    SERVER_ERROR = "5xx"
    CONFLICT = "retriable-4xx"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline-exceeded"
    INTERNAL = "internal"
    RESOURCE_EXHAUSTED = "resource-exhausted"
    UNAVAILABLE = "unavailable"


UNSEEN_BY_ENDPOINT = (
    RetryCondition.CONNECT_FAILURE,
    RetryCondition.REFUSED_STREAM,
    RetryCondition.RESET_BEFORE_REQUEST,
)
"""The endpoint cannot have seen the request, so any method is safe to repeat."""

GRPC_CONDITIONS = (
    RetryCondition.CANCELLED,
    RetryCondition.DEADLINE_EXCEEDED,
    RetryCondition.INTERNAL,
    RetryCondition.RESOURCE_EXHAUSTED,
    RetryCondition.UNAVAILABLE,
)
"""gRPC status codes. All gRPC calls are POST; who names one says that the calls may repeat."""


class LoadBalancer(StrEnum):
    """How an endpoint is picked among equals."""

    LEAST_REQUEST = "least-request"
    ROUND_ROBIN = "round-robin"
    RANDOM = "random"


class Locality(StrEnum):
    """Which endpoints to prefer."""

    ANY = "any"
    ZONE = "zone"
    NODE = "node"


class AffinityKind(StrEnum):
    """What two requests must share to reach the same endpoint."""

    NONE = "none"
    CLIENT_IP = "client-ip"
    COOKIE = "cookie"
    HEADER = "header"


class SessionAffinity(msgspec.Struct, frozen=True):
    """``name`` is that of the cookie or header, empty for the other kinds."""

    kind: AffinityKind = AffinityKind.NONE
    name: str = ""


NO_AFFINITY = SessionAffinity()


class AccessLog(StrEnum):
    """Which requests, and connections of opaque ports, the proxy logs."""

    OFF = "off"
    ERRORS = "errors"
    ALL = "all"


class OutlierDetection(msgspec.Struct, frozen=True):
    """Leave an endpoint out for a while after it failed several times in a row."""

    consecutive_5xx: int = 5
    interval_seconds: float = 10.0
    base_ejection_seconds: float = 30.0
    max_ejection_percent: int = 50


class TrafficOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """What one place (the mesh, a Service, its annotations, a TrafficPolicy) says of traffic."""

    request_timeout_seconds: float | None = None
    """From the end of the request to the end of the response, retries included."""
    idle_timeout_seconds: float | None = None
    """The longest pause in a request or response."""
    connect_timeout_seconds: float | None = None
    retry_attempts: int | None = None
    """How often a request is sent again; 0 is never."""
    retry_on: tuple[RetryCondition, ...] | None = None
    per_try_timeout_seconds: float | None = None
    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None
    outlier_detection: OutlierDetection | None = None
    load_balancer: LoadBalancer | None = None
    session_affinity: SessionAffinity | None = None
    locality: Locality | None = None
    access_log: AccessLog | None = None


NOTHING_SAID = TrafficOverrides()
