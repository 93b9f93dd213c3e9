"""Who calls: from the number that the kernel vouches for to the caller's SPIFFE ID.

The kernel gives the proxy each captured connection with the identity number of the pod in the place
of its port (``bpf/sock_addr``). One extension configuration, delivered by itself (ECDS), has the
names of this node's numbers; so no listener changes when pods come and go. A connection with a
number that has no name gets no certificate, and no policy takes it for anybody.
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    ExtensionConfigSource,
)
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import (
    Config as SetFilterState,
)
from envoy.type.matcher.v3.filter_state_pb2 import FilterStateMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from culvert.compile import filter_state
from culvert.compile.packing import TYPE_URL_PREFIX, pack, resource
from culvert.model.desired import Resource

IDENTITIES = "identities"
"""Name of the extension configuration."""

_NUMBER = "source.port"


def compile_identities(numbers: Mapping[str, int]) -> Resource:
    """The extension configuration for ``numbers``, identity numbers by SPIFFE ID."""
    names = ", ".join(
        f"{number}: '{principal}'"
        for number, principal in sorted((number, name) for name, number in numbers.items())
    )
    principal = f"%CEL({{{names}}}[{_NUMBER}])%"
    value = filter_state.value
    config = SetFilterState(
        on_new_connection=[
            value(
                filter_state.CERTIFICATE,
                principal,
                filter_state.TRANSITIVE,
                filter_state.HASHABLE,
            ),
            value(filter_state.PRINCIPAL, principal, filter_state.ONCE, filter_state.HASHABLE),
            value(
                filter_state.SOURCE,
                "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                filter_state.ONCE,
                filter_state.HASHABLE,
            ),
            value(filter_state.REMOTE_ADDRESS, "%DOWNSTREAM_REMOTE_ADDRESS%", filter_state.ONCE),
            value(
                filter_state.SOURCE_IP,
                "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                filter_state.ONCE,
                filter_state.IP,
            ),
        ]
    )
    return resource(IDENTITIES, TypedExtensionConfig(name=IDENTITIES, typed_config=pack(config)))


def identity_filters() -> tuple[Filter, ...]:
    """The filters that come first in a listener for captured connections.

    The second ends what has no identity. It looks when the first byte arrives; until then such a
    connection has reached nobody but over plain text, as a pod without a certificate would.
    """
    by_ads = ConfigSource(resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource())
    known = FilterStateMatcher(
        key=filter_state.PRINCIPAL, string_match=StringMatcher(prefix="spiffe://")
    )
    rules = RBAC(
        action=RBAC.ALLOW,
        policies={
            "identified": Policy(
                permissions=[Permission(any=True)], principals=[Principal(filter_state=known)]
            )
        },
    )
    return (
        Filter(
            name=IDENTITIES,
            config_discovery=ExtensionConfigSource(
                config_source=by_ads,
                type_urls=[TYPE_URL_PREFIX + SetFilterState.DESCRIPTOR.full_name],
            ),
        ),
        Filter(
            name="envoy.filters.network.rbac",
            typed_config=pack(network_rbac_pb2.RBAC(stat_prefix="identity.", rules=rules)),
        ),
    )
