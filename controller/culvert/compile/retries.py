"""When a request is sent again, and how often.

A request that an endpoint may have begun to work on is repeated only if its method is idempotent
(RFC 9110, section 9.2.2), whatever was asked for. gRPC has no such methods: naming a gRPC status
code says that the calls may repeat.
"""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import RetryPolicy
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate
from google.protobuf.wrappers_pb2 import UInt32Value

from culvert.compile.packing import duration, pack
from culvert.compile.traffic import ServiceTraffic
from culvert.model.traffic import GRPC_CONDITIONS, UNSEEN_BY_ENDPOINT, RetryCondition

_SAFE = frozenset((*UNSEEN_BY_ENDPOINT, *GRPC_CONDITIONS))
_ANY_RESET = frozenset(
    (RetryCondition.SERVER_ERROR, RetryCondition.GATEWAY_ERROR, RetryCondition.RESET)
)
"""Envoy counts a connection that fails, at whatever point, as one of these."""


def any_method_conditions(asked: tuple[RetryCondition, ...]) -> tuple[RetryCondition, ...]:
    """The part of the conditions that holds for every method.

    Conditions that stand for any broken connection keep their harmless part.
    """
    safe = _SAFE.intersection(asked)
    if _ANY_RESET.intersection(asked):
        safe |= frozenset(UNSEEN_BY_ENDPOINT)
    return tuple(condition for condition in RetryCondition if condition in safe)


def needs_budget(traffic: ServiceTraffic) -> bool:
    """Whether endpoints see repeated requests, so that retries can add to an overload."""
    return traffic.retry_attempts > 0 and not set(traffic.retry_on) <= set(UNSEEN_BY_ENDPOINT)


def retry_policy(
    traffic: ServiceTraffic, conditions: tuple[RetryCondition, ...]
) -> RetryPolicy | None:
    """The policy of a route; none where attempts are neither repeated nor limited in time."""
    if traffic.retry_attempts and conditions:
        policy = RetryPolicy(
            retry_on=",".join(conditions),
            num_retries=UInt32Value(value=traffic.retry_attempts),
            retry_host_predicate=[
                RetryPolicy.RetryHostPredicate(
                    name="envoy.retry_host_predicates.previous_hosts",
                    typed_config=pack(PreviousHostsPredicate()),
                )
            ],
            host_selection_retry_max_attempts=3,
        )
    elif traffic.per_try_timeout_seconds:
        policy = RetryPolicy(num_retries=UInt32Value(value=0))
    else:
        return None
    if traffic.per_try_timeout_seconds:
        policy.per_try_timeout.CopyFrom(duration(traffic.per_try_timeout_seconds))
    return policy
