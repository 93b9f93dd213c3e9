"""The HTTP connection manager that every listener for HTTP has, made not to be noticed."""

from __future__ import annotations

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as HeaderMutationFilter,
)
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import Mutations
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from culvert.compile.http import (
    DESTINATION_HEADER,
    MAX_HEADERS_KIB,
    SAVED_FORWARDED_PROTO_HEADER,
    common_options,
    http1_options,
    http2_options,
)
from culvert.compile.packing import duration, pack


def http_filter(manager: manager_pb2.HttpConnectionManager) -> Filter:
    """The network filter that a manager is."""
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))


def routes_by_destination(name: str) -> manager_pb2.ScopedRoutes:
    """Routes picked by the destination header ("scoped routes" in Envoy's documentation)."""
    by_ads = ConfigSource(resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource())
    key_builder = manager_pb2.ScopedRoutes.ScopeKeyBuilder
    whole_header = key_builder.FragmentBuilder.HeaderValueExtractor(
        name=DESTINATION_HEADER, index=0
    )
    return manager_pb2.ScopedRoutes(
        name=name,
        scope_key_builder=key_builder(
            fragments=[key_builder.FragmentBuilder(header_value_extractor=whole_header)]
        ),
        # Every scope carries its routes inline; Envoy asks for both sources all the same.
        rds_config_source=by_ads,
        scoped_rds=manager_pb2.ScopedRds(scoped_rds_config_source=by_ads),
    )


def http_manager(
    stat_prefix: str, destination: str = "%DOWNSTREAM_LOCAL_ADDRESS%"
) -> manager_pb2.HttpConnectionManager:
    """A manager without routes. ``destination`` is the format of the destination header."""
    return manager_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        codec_type=manager_pb2.HttpConnectionManager.AUTO,
        common_http_protocol_options=common_options(idle_timeout_seconds=0),
        http_protocol_options=http1_options(),
        http2_protocol_options=http2_options(),
        max_request_headers_kb=UInt32Value(value=MAX_HEADERS_KIB),
        stream_idle_timeout=duration(0),
        request_timeout=duration(0),
        use_remote_address=BoolValue(value=False),
        skip_xff_append=True,
        # Envoy marks requests of "internal" addresses with a header; no address is.
        internal_address_config=manager_pb2.HttpConnectionManager.InternalAddressConfig(
            cidr_ranges=[
                CidrRange(address_prefix="255.255.255.255", prefix_len=UInt32Value(value=32))
            ]
        ),
        generate_request_id=BoolValue(value=False),
        preserve_external_request_id=True,
        server_header_transformation=manager_pb2.HttpConnectionManager.PASS_THROUGH,
        proxy_100_continue=True,
        normalize_path=BoolValue(value=False),
        merge_slashes=False,
        path_with_escaped_slashes_action=manager_pb2.HttpConnectionManager.KEEP_UNCHANGED,
        upgrade_configs=[manager_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        early_header_mutation_extensions=[
            early_headers(
                overwrite(DESTINATION_HEADER, destination),
                HeaderMutation(remove=SAVED_FORWARDED_PROTO_HEADER),
                overwrite(SAVED_FORWARDED_PROTO_HEADER, "%REQ(x-forwarded-proto)%"),
            )
        ],
        http_filters=[
            manager_pb2.HttpFilter(
                name="envoy.filters.http.header_mutation",
                typed_config=pack(
                    HeaderMutationFilter(
                        mutations=Mutations(
                            request_mutations=[
                                HeaderMutation(remove="x-forwarded-proto"),
                                overwrite(
                                    "x-forwarded-proto", f"%REQ({SAVED_FORWARDED_PROTO_HEADER})%"
                                ),
                                HeaderMutation(remove=SAVED_FORWARDED_PROTO_HEADER),
                                HeaderMutation(remove=DESTINATION_HEADER),
                            ]
                        )
                    )
                ),
            ),
            manager_pb2.HttpFilter(
                name="envoy.filters.http.router",
                typed_config=pack(Router(suppress_envoy_headers=True)),
            ),
        ],
    )


def early_headers(*mutations: HeaderMutation) -> TypedExtensionConfig:
    """Changes to headers that are made before a route is chosen."""
    return TypedExtensionConfig(
        name="destination", typed_config=pack(EarlyHeaderMutation(mutations=mutations))
    )


def overwrite(header: str, value: str) -> HeaderMutation:
    """Set a header to a format string's value, whatever the client sent."""
    return HeaderMutation(
        append=HeaderValueOption(
            header=HeaderValue(key=header, value=value),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )
