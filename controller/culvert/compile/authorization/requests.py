"""AuthorizationPolicies on requests, as rules of Envoy's RBAC filters; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from google.protobuf.any_pb2 import Any as AnyMessage

from culvert.compile.packing import pack
from culvert.model.policy import AuthorizationPolicy

DENY_FILTER = "culvert.deny"
ALLOW_FILTER = "culvert.allow"


def request_filters() -> tuple[manager_pb2.HttpFilter, ...]:
    """The filters that judge; without rules they refuse nothing."""
    return tuple(
        manager_pb2.HttpFilter(name=name, typed_config=pack(rbac_pb2.RBAC()))
        for name in (DENY_FILTER, ALLOW_FILTER)
    )


def request_rules(policies: Iterable[AuthorizationPolicy]) -> Mapping[str, AnyMessage]:
    """What routes say of the filters."""
    if not any(True for _ in policies):
        return {}
    nobody = rbac_pb2.RBAC(rules=RBAC(action=RBAC.ALLOW))
    return {ALLOW_FILTER: pack(rbac_pb2.RBACPerRoute(rbac=nobody))}
