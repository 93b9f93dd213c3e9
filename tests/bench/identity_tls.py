"""Mutual TLS between sidecars: one certificate for each pod, in the sidecar's own file."""

from __future__ import annotations

from datetime import UTC, datetime

from culvert.identity.authority import Authority, Lifetimes
from culvert.identity.x509 import key_pem, make_request, new_key
from culvert.model.identity import Identity
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsCertificate,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    CommonTlsContext,
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue

TRUST_DOMAIN = "cluster.local"
_INBOUND = ("pod_http", "pod_tcp")


class Certificates:
    """An authority and what it has issued, for the length of a run."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)
        self._authority = Authority(TRUST_DOMAIN, Lifetimes()).advanced(self._now)

    @property
    def bundle_pem(self) -> bytes:
        """All roots."""
        return self._authority.bundle_pem

    def issue(self, account: str) -> tuple[bytes, bytes]:
        """Chain and key in PEM, of a service account."""
        key = new_key()
        identity = Identity(TRUST_DOMAIN, "default", account)
        issued = self._authority.issue(make_request(key), identity, self._now)
        return issued.chain_pem, key_pem(key)


def add_mutual_tls(bootstrap: Bootstrap, certificates: Certificates, account: str) -> None:
    """Encrypt between this sidecar and others: from its clusters of Services, to its pod's ports.

    As between nodes: TLS 1.3, and the other end must be of the trust domain.
    """
    common = _common(certificates, account)
    upstream = _socket(UpstreamTlsContext(common_tls_context=common))
    downstream = _socket(
        DownstreamTlsContext(
            common_tls_context=common, require_client_certificate=BoolValue(value=True)
        )
    )
    bootstrap.stats_config.stats_matcher.inclusion_list.patterns.add(suffix="ssl.handshake")
    for cluster in bootstrap.static_resources.clusters:
        if not cluster.name.startswith("pod|"):
            cluster.transport_socket.CopyFrom(upstream)
    for listener in bootstrap.static_resources.listeners:
        if listener.name in _INBOUND:
            for chain in listener.filter_chains:
                chain.transport_socket.CopyFrom(downstream)


def _common(certificates: Certificates, account: str) -> CommonTlsContext:
    chain, key = certificates.issue(account)
    tls13 = TlsParameters.TLSv1_3
    members = StringMatcher(prefix=f"spiffe://{TRUST_DOMAIN}/ns/")
    return CommonTlsContext(
        tls_params=TlsParameters(
            tls_minimum_protocol_version=tls13, tls_maximum_protocol_version=tls13
        ),
        tls_certificates=[
            TlsCertificate(
                certificate_chain=DataSource(inline_bytes=chain),
                private_key=DataSource(inline_bytes=key),
            )
        ],
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(inline_bytes=certificates.bundle_pem),
            match_typed_subject_alt_names=[
                SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.URI, matcher=members)
            ],
        ),
    )


def _socket(context: Message) -> TransportSocket:
    packed = Any()
    packed.Pack(context)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed)
