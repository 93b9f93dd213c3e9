"""Settings of traffic, as TrafficPolicy and MeshConfig have them."""

from __future__ import annotations

from typing import Any

from culvert.model.traffic import (
    AccessLog,
    AffinityKind,
    LoadBalancer,
    Locality,
    OutlierDetection,
    RetryCondition,
    SessionAffinity,
    TrafficOverrides,
)
from culvert.sources.decode import policy_wire as wire
from culvert.sources.decode.error import DecodeError
from culvert.sources.decode.values import choice, meaning, number, seconds

ACCESS_LOGS = {"None": AccessLog.OFF, "Errors": AccessLog.ERRORS, "All": AccessLog.ALL}

_MOST = (1 << 31) - 1
_MAX_ATTEMPTS = 10
_BALANCERS = {
    "LeastRequest": LoadBalancer.LEAST_REQUEST,
    "RoundRobin": LoadBalancer.ROUND_ROBIN,
    "Random": LoadBalancer.RANDOM,
}
_LOCALITIES = {"Any": Locality.ANY, "Zone": Locality.ZONE, "Node": Locality.NODE}
_AFFINITIES = {
    "None": AffinityKind.NONE,
    "ClientIP": AffinityKind.CLIENT_IP,
    "Cookie": AffinityKind.COOKIE,
    "Header": AffinityKind.HEADER,
}
_RETRY_ON = {str(condition): condition for condition in RetryCondition}


def traffic_overrides(
    seen: wire.TrafficSettings, path: str, access_log: AccessLog | None = None
) -> TrafficOverrides:
    """What the settings below the field ``path`` say.

    Raises:
        DecodeError: a value is not valid.
    """
    timeouts = seen.timeouts or wire.Timeouts()
    retries = seen.retries or wire.Retries()
    limits = seen.circuit_breaking or wire.CircuitBreaking()
    balancing = seen.load_balancing or wire.LoadBalancing()
    overrides = TrafficOverrides(
        request_timeout_seconds=seconds(timeouts.request, f"{path}.timeouts.request"),
        idle_timeout_seconds=seconds(timeouts.idle, f"{path}.timeouts.idle"),
        connect_timeout_seconds=seconds(timeouts.connect, f"{path}.timeouts.connect", zero=False),
        retry_attempts=number(retries.attempts, f"{path}.retries.attempts", 0, _MAX_ATTEMPTS),
        retry_on=_retry_on(retries.retry_on, f"{path}.retries.retryOn"),
        per_try_timeout_seconds=seconds(retries.per_try_timeout, f"{path}.retries.perTryTimeout"),
        max_connections=_limit(limits.max_connections, f"{path}.circuitBreaking.maxConnections"),
        max_pending_requests=_limit(
            limits.max_pending_requests, f"{path}.circuitBreaking.maxPendingRequests"
        ),
        max_requests=_limit(limits.max_requests, f"{path}.circuitBreaking.maxRequests"),
        max_retries=_limit(limits.max_retries, f"{path}.circuitBreaking.maxRetries"),
        outlier_detection=_outlier_detection(seen.outlier_detection, f"{path}.outlierDetection"),
        load_balancer=choice(balancing.policy, f"{path}.loadBalancing.policy", _BALANCERS),
        session_affinity=_affinity(
            balancing.session_affinity, f"{path}.loadBalancing.sessionAffinity"
        ),
        locality=choice(balancing.locality, f"{path}.loadBalancing.locality", _LOCALITIES),
        access_log=access_log,
    )
    request, per_try = overrides.request_timeout_seconds, overrides.per_try_timeout_seconds
    if request and per_try and per_try > request:
        raise DecodeError(
            f"{path}.retries.perTryTimeout",
            "is longer than timeouts.request",
            "shorten it, or lengthen timeouts.request",
        )
    return overrides


def _limit(value: int | None, field: str) -> int | None:
    return number(value, field, 1, _MOST)


def _retry_on(texts: tuple[str, ...] | None, field: str) -> tuple[RetryCondition, ...] | None:
    if texts is None:
        return None
    wanted = {meaning(text, f"{field}[{i}]", _RETRY_ON) for i, text in enumerate(texts)}
    # In one order, so that the order in which an owner lists them changes no bytes.
    return tuple(condition for condition in RetryCondition if condition in wanted)


def _outlier_detection(
    seen: wire.OutlierDetectionObject | None, field: str
) -> OutlierDetection | None:
    if seen is None:
        return None
    said: dict[str, Any] = {
        "consecutive_5xx": number(seen.consecutive_5xx, f"{field}.consecutive5xx", 1, 1000),
        "interval_seconds": seconds(seen.interval, f"{field}.interval", zero=False),
        "base_ejection_seconds": seconds(seen.base_ejection, f"{field}.baseEjection", zero=False),
        "max_ejection_percent": number(
            seen.max_ejection_percent, f"{field}.maxEjectionPercent", 1, 100
        ),
    }
    return OutlierDetection(**{name: value for name, value in said.items() if value is not None})


def _affinity(seen: wire.SessionAffinityObject | None, field: str) -> SessionAffinity | None:
    if seen is None:
        return None
    kind = meaning(seen.type, f"{field}.type", _AFFINITIES)
    needs_name = kind in (AffinityKind.COOKIE, AffinityKind.HEADER)
    if needs_name != bool(seen.name):
        raise DecodeError(
            f"{field}.name",
            f"is {'missing' if needs_name else 'not for'} type {seen.type}",
            "add it" if needs_name else "remove it",
        )
    return SessionAffinity(kind, seen.name or "")
