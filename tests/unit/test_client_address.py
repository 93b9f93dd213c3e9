"""Which listeners have connections made in their clients' names, and who says so."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from culvert.compile.inbound import compile_connection_listener, compile_inbound
from culvert.compile.listeners import compile_listeners
from culvert.compile.mesh_settings import settings_in_force
from culvert.compile.tunnel import compile_tunnel
from culvert.model.desired import Resource
from culvert.model.policy import MeshConfig
from culvert.model.settings import Settings

SOURCE_FILTER = b"envoy.filters.listener.original_src"


def in_the_clients_name(resources: Iterable[Resource]) -> set[str]:
    return {one.name for one in resources if SOURCE_FILTER in one.body}


def all_resources(settings: Settings) -> tuple[Resource, ...]:
    return (
        *compile_listeners(settings),
        *compile_inbound(settings),
        compile_connection_listener(settings, {}),
        *compile_tunnel(settings, ["10.99.0.1"]),
    )


@pytest.mark.parametrize("identity", [False, True])
def test_switched_off_no_connection_is_made_in_a_clients_name(identity: bool) -> None:
    assert in_the_clients_name(all_resources(Settings(identity=identity))) == set()


def test_with_identities_bytes_and_requests_to_pods_are_and_tunnels_are_not() -> None:
    settings = Settings(identity=True, client_address=True)
    assert in_the_clients_name(all_resources(settings)) == {
        "service_http",
        "service_tcp",
        "pod_http",
        "pod_tcp",
        "inbound_http",
        "inbound_tcp",
    }


def test_without_identities_requests_go_on_sharing_connections() -> None:
    settings = Settings(client_address=True)
    assert in_the_clients_name(compile_listeners(settings)) == {"service_tcp", "pod_tcp"}


@pytest.mark.parametrize(
    ("kernel", "said", "in_force"),
    [
        (True, None, True),
        (True, True, True),
        (True, False, False),
        (False, True, False),
        (False, None, False),
    ],
)
def test_mesh_config_can_take_clients_addresses_away_and_not_give_them(
    kernel: bool, said: bool | None, in_force: bool
) -> None:
    settings = settings_in_force(Settings(client_address=kernel), MeshConfig(client_address=said))
    assert settings.client_address is in_force
