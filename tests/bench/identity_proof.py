"""Whether each way is what it is said to be, by the counters of proxies; before it is measured."""

from __future__ import annotations

from tests.bench.identity_scene import (
    DIRECT,
    HERE,
    L7,
    MUTUAL,
    PLAIN,
    SIDECARS,
    THERE,
    IdentityScene,
)
from tests.bench.proof import WrongWayError
from tests.bench.scene import HTTP
from tests.bench.wrk import run_wrk

_TLS = "ssl.handshake"


def prove_identities(scene: IdentityScene) -> None:
    """Put a short load on each way to the other node and look who has made TLS handshakes.

    Raises:
        WrongWayError: one goes another way.
    """
    for way, place, is_encrypted in (
        (DIRECT, THERE, False),
        (PLAIN, THERE, False),
        (SIDECARS, THERE, True),
        (SIDECARS, HERE, True),
        (MUTUAL, HERE, False),
        (MUTUAL, THERE, True),
        (L7, THERE, True),
    ):
        before = _streams(scene)
        route = scene.routes[way, place, HTTP]
        run_wrk(route.client, f"{route.url}/1024", connections=2, seconds=1)
        if (_streams(scene) > before) != is_encrypted:
            what = "none" if is_encrypted else "some"
            raise WrongWayError(f"{way}, server {place}: {what} of it went by mutual TLS")


def _streams(scene: IdentityScene) -> int:
    """Connections of pods that proxies have carried by TLS."""
    sidecars = sum(sum(one.stats(_TLS).values()) for one in scene.sidecars)
    nodes = [
        *scene.mutual.mesh.nodes.values(),
        *scene.plain.mesh.nodes.values(),
    ]
    return sidecars + sum(
        one.envoy_stats().get("cluster.tunnel.upstream_rq_total", 0) for one in nodes
    )
