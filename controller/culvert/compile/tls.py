"""Mutual TLS between nodes: both ends choose their certificate for each connection.

The connecting end presents the certificate that the connection's filter state names, the accepting
end the one that the other asked for by server name (SNI). Both are fetched by SDS when first asked
for. A name that is missing falls to one that SDS never issues: such a connection fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from culvert.compile.packing import pack
from culvert.compile.typed_struct import as_json, typed_extension

BUNDLE_SECRET = "trust-bundle"
"""Name of the secret with the roots that both ends trust."""
NEVER_ISSUED = "no-identity"
"""A secret of this name never exists."""

_ALPN = "h2"
_EXTENSIONS = "envoy.extensions.transport_sockets.tls."


def server_name_of(principal: str) -> str:
    """The server name (SNI) that stands for a SPIFFE ID, and the name of its secret.

    A SPIFFE ID does not fit the syntax of host names, and names of service accounts may have dots.
    The trust domain is left out: a node that has another name for it is still asked for the same.
    """
    path = principal.removeprefix("spiffe://").partition("/")[2]
    return sha256(path.encode()).hexdigest()[:32] + ".spiffe"


def upstream_tls(trust_domains: Sequence[str]) -> TransportSocket:
    """Of connections to other nodes.

    The other end must be of a trust domain, and it must be who the connection's filter state says
    (``SUBJECT_ALT_NAMES``, which holds "-" where nothing is known). A session is never resumed: it
    would carry on with the certificate of the caller who began it.
    """
    mapper = typed_extension(
        "envoy.tls.upstream_certificate_mappers.filter_state_override",
        _EXTENSIONS + "cert_mappers.filter_state_override.v3.Config",
        {"default_value": NEVER_ISSUED},
    )
    context = UpstreamTlsContext(
        common_tls_context=_common(as_json(mapper), trust_domains),
        max_session_keys=UInt32Value(value=0),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def downstream_tls(trust_domains: Sequence[str]) -> TransportSocket:
    """Of connections from other nodes: a certificate of a trust domain is required."""
    mapper = typed_extension(
        "envoy.tls.certificate_mappers.sni",
        _EXTENSIONS + "cert_mappers.sni.v3.SNI",
        {"default_value": NEVER_ISSUED},
    )
    context = DownstreamTlsContext(
        common_tls_context=_common(as_json(mapper), trust_domains),
        require_client_certificate=BoolValue(value=True),
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def _common(mapper: dict[str, Any], trust_domains: Sequence[str]) -> CommonTlsContext:
    tls13 = TlsParameters.TLSv1_3
    selector = typed_extension(
        "envoy.tls.certificate_selectors.on_demand_secret",
        _EXTENSIONS + "cert_selectors.on_demand_secret.v3.Config",
        {
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "certificate_mapper": mapper,
        },
    )
    return CommonTlsContext(
        tls_params=TlsParameters(
            tls_minimum_protocol_version=tls13, tls_maximum_protocol_version=tls13
        ),
        alpn_protocols=[_ALPN],
        custom_tls_certificate_selector=selector,
        combined_validation_context=CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=CertificateValidationContext(
                match_typed_subject_alt_names=[
                    SubjectAltNameMatcher(
                        san_type=SubjectAltNameMatcher.URI,
                        matcher=StringMatcher(prefix=f"spiffe://{trust_domain}/ns/"),
                    )
                    for trust_domain in trust_domains
                ]
            ),
            validation_context_sds_secret_config=SdsSecretConfig(
                name=BUNDLE_SECRET,
                sds_config=ConfigSource(
                    resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource()
                ),
            ),
        ),
    )
