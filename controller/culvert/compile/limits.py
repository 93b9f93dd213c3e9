"""What protects endpoints: circuit breakers and outlier detection."""

from __future__ import annotations

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as OutlierMessage
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from culvert.compile.packing import duration
from culvert.compile.retries import needs_budget
from culvert.compile.traffic import ServiceTraffic
from culvert.model.traffic import OutlierDetection

_UNLIMITED = 2**32 - 1
# An overload grows by a quarter at the most; a quiet Service may repeat all the same.
_RETRY_BUDGET_PERCENT = 25.0
_RETRIES_OUTSIDE_BUDGET = 25


def circuit_breakers(traffic: ServiceTraffic) -> CircuitBreakers:
    """Limits where somebody set them.

    Envoy's defaults (1,024 connections, 3 retries) would be limits that nobody set. Retries that
    endpoints get to see have a budget, unless their number is limited.
    """

    def limit(value: int | None) -> UInt32Value:
        return UInt32Value(value=_UNLIMITED if value is None else value)

    thresholds = CircuitBreakers.Thresholds(
        max_connections=limit(traffic.max_connections),
        max_pending_requests=limit(traffic.max_pending_requests),
        max_requests=limit(traffic.max_requests),
        max_retries=limit(traffic.max_retries),
    )
    if traffic.max_retries is None and needs_budget(traffic):
        thresholds.ClearField("max_retries")
        thresholds.retry_budget.CopyFrom(
            CircuitBreakers.Thresholds.RetryBudget(
                budget_percent=Percent(value=_RETRY_BUDGET_PERCENT),
                min_retry_concurrency=UInt32Value(value=_RETRIES_OUTSIDE_BUDGET),
            )
        )
    return CircuitBreakers(thresholds=[thresholds])


def outlier_detection(wanted: OutlierDetection | None) -> OutlierMessage | None:
    """Ejection after consecutive errors, and for no other reason."""
    if wanted is None:
        return None
    return OutlierMessage(
        consecutive_5xx=UInt32Value(value=wanted.consecutive_5xx),
        enforcing_consecutive_5xx=UInt32Value(value=100),
        enforcing_consecutive_gateway_failure=UInt32Value(value=0),
        enforcing_success_rate=UInt32Value(value=0),
        interval=duration(wanted.interval_seconds),
        base_ejection_time=duration(wanted.base_ejection_seconds),
        max_ejection_percent=UInt32Value(value=wanted.max_ejection_percent),
        # Of two endpoints, one must be able to go whatever the percentage.
        always_eject_one_host=BoolValue(value=wanted.max_ejection_percent > 0),
    )
