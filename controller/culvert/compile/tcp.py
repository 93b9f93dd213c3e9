"""The filter that carries bytes as they are."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import (
    TcpProxy,
    UpstreamConnectMode,
)
from envoy.type.v3.hash_policy_pb2 import HashPolicy
from google.protobuf.wrappers_pb2 import UInt32Value

from culvert.compile.live_log import live_log, live_options
from culvert.compile.packing import duration, pack

NO_CLUSTER = "none"
"""Envoy wants a cluster beside the one that filter state names; there is none of this name."""

_ON_DEMAND_SECONDS = 5.0
_REFUSAL_SECONDS = 0.001


def tcp_filter(
    stat_prefix: str,
    cluster: str,
    access_log: Sequence[AccessLog] = (),
    *,
    tunneling: TcpProxy.TunnelingConfig | None = None,
    on_demand: bool = False,
    is_followed: bool = False,
) -> Filter:
    """To ``cluster``, or where filter state says; ``on_demand``: one that is asked for when used.

    With ``tunneling`` the bytes go in a stream of HTTP/2 CONNECT. Where it ``is_followed``, the
    agent is told of each connection while it lasts.
    """
    proxy = TcpProxy(
        stat_prefix=stat_prefix,
        cluster=cluster,
        # Without the mesh nothing would cut an idle connection either.
        idle_timeout=duration(0),
        max_connect_attempts=UInt32Value(value=3),
        # Read only by clusters that hash, those with affinity to the client's address.
        hash_policy=[HashPolicy(source_ip=HashPolicy.SourceIp())],
        access_log=access_log,
        tunneling_config=tunneling,
    )
    if is_followed:
        proxy.access_log.append(live_log())
        proxy.access_log_options.CopyFrom(live_options())
    if on_demand:
        proxy.on_demand.odcds_config.CopyFrom(
            ConfigSource(resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource())
        )
        proxy.on_demand.timeout.CopyFrom(duration(_ON_DEMAND_SECONDS))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(proxy))


def refusing_filter(stat_prefix: str, access_log: Sequence[AccessLog]) -> Filter:
    """Ends every connection, with nothing passed on.

    Not at once: whoever connects from inside the proxy would take that for a failure to connect,
    and try again. A millisecond later, or with the first bytes, the connection is made and over.
    """
    return Filter(
        name="envoy.filters.network.tcp_proxy",
        typed_config=pack(
            TcpProxy(
                stat_prefix=stat_prefix,
                cluster=NO_CLUSTER,
                upstream_connect_mode=UpstreamConnectMode.ON_DOWNSTREAM_DATA,
                max_early_data_bytes=UInt32Value(value=1),
                max_downstream_connection_duration=duration(_REFUSAL_SECONDS),
                access_log=access_log,
            )
        ),
    )
