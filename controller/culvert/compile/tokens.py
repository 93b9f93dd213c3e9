"""Tokens of requests (JSON Web Tokens, RFC 7519): which are verified, and where their claims go.

A token that is not good counts as none: what that means is for policies to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.route.v3.route_components_pb2 import RouteMatch
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRequirementOrList,
    RequirementRule,
)
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from google.protobuf.empty_pb2 import Empty

from culvert.compile.packing import pack
from culvert.model.token_issuer import TokenIssuer

METADATA = "envoy.filters.http.jwt_authn"
PAYLOAD = "token"
"""The claims of a good token in the request's metadata, under ``METADATA``."""


def token_filters(issuers: Sequence[TokenIssuer]) -> tuple[manager_pb2.HttpFilter, ...]:
    """The filter that verifies; none without issuers. The token goes on with the request."""
    if not issuers:
        return ()
    names = [f"issuer-{index}" for index in range(len(issuers))]
    any_of = [JwtRequirement(provider_name=name) for name in names]
    any_of.append(JwtRequirement(allow_missing_or_failed=Empty()))
    requires = JwtRequirement(requires_any=JwtRequirementOrList(requirements=any_of))
    config = JwtAuthentication(
        providers={name: _provider(one) for name, one in zip(names, issuers, strict=True)},
        rules=[RequirementRule(match=RouteMatch(prefix="/"), requires=requires)],
    )
    return (manager_pb2.HttpFilter(name="culvert.tokens", typed_config=pack(config)),)


def _provider(issuer: TokenIssuer) -> JwtProvider:
    return JwtProvider(
        issuer=issuer.issuer,
        audiences=issuer.audiences,
        local_jwks=DataSource(inline_string=issuer.jwks),
        # Named, as Envoy otherwise looks into the query as well.
        from_headers=[JwtHeader(name="Authorization", value_prefix="Bearer ")],
        forward=True,
        require_expiration=True,
        payload_in_metadata=PAYLOAD,
    )
