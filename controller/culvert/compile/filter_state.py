"""Filter state: what a connection carries through the proxy, from hop to hop.

Envoy, "Sharing data between filters" and "Well-known filter state". An object is shared with the
connection's own upstream (``ONCE``), or with every one after it as well (``TRANSITIVE``). Pools of
upstream connections are kept apart by the shared objects that can be hashed, and by no others: what
tells one caller from another is therefore always made by ``HASHABLE``.
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import (
    Config as SetFilterState,
)

from culvert.compile.packing import pack

PRINCIPAL = "culvert.principal"
"""The caller's SPIFFE ID."""
SOURCE = "culvert.source"
"""The caller's address, without a port, as text."""
SOURCE_IP = "culvert.source_ip"
"""The same as an address, which RBAC compares with ranges."""
POOL = "culvert.pool"
"""The caller's SPIFFE ID once more, for the pools of connections to a pod of this node."""
DESTINATION = "culvert.destination"
"""Address and port that a connection to a pod asked for."""
CERTIFICATE = "envoy.tls.certificate_mappers.on_demand_secret"
"""Name of the secret that a TLS connection presents; a key of Envoy's."""
TCP_CLUSTER = "envoy.tcp_proxy.cluster"
SERVER_NAME = "envoy.network.upstream_server_name"
SUBJECT_ALT_NAMES = "envoy.network.upstream_subject_alt_names"
TUNNEL_ADDRESS = "envoy.network.transport_socket.original_dst_address"
LOCAL_ADDRESS = "envoy.filters.listener.original_dst.local_ip"
REMOTE_ADDRESS = "envoy.filters.listener.original_dst.remote_ip"

HASHABLE = "envoy.hashable_string"
IP = "envoy.network.ip"

NONE = FilterStateValue.NONE
ONCE = FilterStateValue.ONCE
TRANSITIVE = FilterStateValue.TRANSITIVE


def value(
    key: str,
    text: str,
    shared: FilterStateValue.SharedWithUpstream.ValueType = NONE,
    factory: str = "",
) -> FilterStateValue:
    """An object made from a format string (Envoy, "Substitution formatting")."""
    return FilterStateValue(
        object_key=key,
        factory_key=factory,
        format_string=SubstitutionFormatString(text_format_source=DataSource(inline_string=text)),
        shared_with_upstream=shared,
    )


def set_on_connection(*values: FilterStateValue) -> Filter:
    """A network filter that makes the objects of each new connection."""
    return Filter(
        name="envoy.filters.network.set_filter_state",
        typed_config=pack(SetFilterState(on_new_connection=values)),
    )
