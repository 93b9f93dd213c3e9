"""From a pod's service account to the number by which the kernel calls its identity."""

from __future__ import annotations

import pytest
from culvert.compile.node import compile_node
from culvert.compile.redirect import compile_redirect_config
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace
from culvert.model.settings import Settings
from culvert.model.workload import Phase, Workload
from culvert.model.world import World

WEB = Workload("shop", "web", "u1", "node-a", ("10.0.0.1",), Phase.RUNNING, service_account="clerk")


def number(world_trust_domain: str, **numbers: int) -> int:
    """The number of the one pod, with these numbers by service account."""
    world = World(
        namespaces={"shop": Namespace("shop", {"culvert.dev/mesh": "enabled"})},
        workloads={ObjectKey("shop", "web"): WEB},
        local_cgroups={"u1": 7},
        identity_numbers={
            f"spiffe://cluster.local/ns/shop/sa/{name}": value for name, value in numbers.items()
        },
        settings=Settings(trust_domain=world_trust_domain),
    )
    return compile_node(world, "node-a").redirect.pods[7].identity_number


@pytest.mark.parametrize(
    ("trust_domain", "numbers", "expected"),
    [
        ("cluster.local", {"clerk": 5, "default": 6}, 5),
        ("cluster.local", {"default": 6}, 0),
        ("cluster.local", {}, 0),
        ("other.example", {"clerk": 5}, 0),
    ],
)
def test_pod_has_the_number_of_its_service_account(
    trust_domain: str, numbers: dict[str, int], expected: int
) -> None:
    assert number(trust_domain, **numbers) == expected


@pytest.mark.parametrize("identity", [False, True])
def test_numbers_are_shown_to_the_proxy_only_if_identities_are_in_use(identity: bool) -> None:
    assert compile_redirect_config(Settings(identity=identity)).identity == identity
