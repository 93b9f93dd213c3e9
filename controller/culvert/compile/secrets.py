"""Secrets: certificates and roots in the form in which the proxy fetches them (SDS)."""

from __future__ import annotations

from collections.abc import Mapping, Set

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from culvert.compile.packing import SECRET_TYPE, resource
from culvert.compile.tls import BUNDLE_SECRET, server_name_of
from culvert.model.desired import Resource


def compile_secrets(
    certificates: Mapping[str, tuple[bytes, bytes]], awaited: Set[str], bundle_pem: bytes
) -> dict[str, Resource]:
    """One secret by name for each identity at each end, and one for the roots.

    ``certificates`` are the PEM chain, leaf first, and the PEM key by SPIFFE ID. The secrets of
    ``awaited`` identities are held back: the proxy waits for one that is about to come, whereas a
    name that nobody has is refused at once.
    """
    secrets = {}
    for principal in sorted(awaited):
        for name in (principal, server_name_of(principal)):
            secrets[name] = Resource.held_back(SECRET_TYPE, name)
    for principal, (chain_pem, key_pem) in sorted(certificates.items()):
        for name in (principal, server_name_of(principal)):
            secret = Secret(name=name)
            secret.tls_certificate.certificate_chain.inline_bytes = chain_pem
            secret.tls_certificate.private_key.inline_bytes = key_pem
            secrets[name] = resource(name, secret)
    if bundle_pem:
        roots = Secret(name=BUNDLE_SECRET)
        roots.validation_context.trusted_ca.inline_bytes = bundle_pem
        secrets[BUNDLE_SECRET] = resource(BUNDLE_SECRET, roots)
    else:
        secrets[BUNDLE_SECRET] = Resource.held_back(SECRET_TYPE, BUNDLE_SECRET)
    return secrets
