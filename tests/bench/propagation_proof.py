"""Whether the kernel and Envoy show what the agent says it has applied: asked behind its back."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from urllib.parse import quote

from culvert.compile.redirect import compile_redirect_config
from culvert.embedded.mesh_node import MeshNode
from culvert.embedded.unix_http import fetch
from culvert.model.redirect import (
    Destination,
    DestinationKey,
    ProxyListener,
    RedirectTable,
    address16,
)
from culvert.model.settings import Settings
from culvert.redirect.encode import DESTINATIONS, encode_table
from culvert.redirect.kernel import KernelMaps
from culvert.redirect.plan import Put, Remove

from tests.bench import synthetic_world as world
from tests.bench.propagation_error import NotThereError

_POLL_SECONDS = 0.005
_LIMIT_SECONDS = 120.0
_ENVOY_SECONDS = 60.0
_ADDRESS = re.compile(r'"address": "([0-9.]+)"')


class Proof:
    """Of one node's agent."""

    def __init__(self, node: MeshNode) -> None:
        self._node = node

    def confirm_captured(self, number: int) -> None:
        """A Service has its entry in the kernel's map.

        Raises:
            NotThereError: it has none, or another one.
        """
        with KernelMaps(self._pins()) as maps:
            if maps.unconfirmed([_put(number)]):
                raise NotThereError(f"the map has no entry of {world.service_name(number)}")

    async def until_released(self, number: int) -> None:
        """Wait until a Service that was deleted has no entry any more.

        Raises:
            NotThereError: it still has one.
        """
        put = _put(number)
        deadline = time.monotonic() + _LIMIT_SECONDS
        with KernelMaps(self._pins()) as maps:
            while maps.unconfirmed([Remove(put.map_name, put.key)]):
                if time.monotonic() > deadline:
                    raise NotThereError(f"the map still has {world.service_name(number)}")
                await asyncio.sleep(_POLL_SECONDS)

    def confirm_endpoints(self, number: int, unready: int) -> None:
        """Envoy has a Service's endpoints that are ready, all of them and no others.

        Raises:
            NotThereError: it has not.
        """
        name = world.service_name(number)
        pattern = quote(f"^{world.NAMESPACE}/{name}\\|{world.SERVICE_PORT}$")
        _, body = fetch(
            self._node.admin_socket,
            f"/config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex={pattern}",
            timeout_seconds=_ENVOY_SECONDS,
        )
        shown = set(_ADDRESS.findall(body.decode()))
        wanted = world.ready_addresses(number, unready)
        if shown != wanted:
            raise NotThereError(
                f"Envoy has not the endpoints of {name}: {sorted(shown ^ wanted)} differ"
            )

    def _pins(self) -> Path:
        (pins,) = self._node.pins.glob("maps-*")
        return pins


def _put(number: int) -> Put:
    """The entry that a Service of a synthetic world has in the map of destinations."""
    is_http = world.speaks_http(number)
    listener = ProxyListener.SERVICE_HTTP if is_http else ProxyListener.SERVICE_TCP
    key = DestinationKey(address16(world.service_address(number)), world.SERVICE_PORT)
    table = RedirectTable(destinations={key: Destination(listener)})
    ((key_bytes, value),) = encode_table(compile_redirect_config(Settings()), table)[
        DESTINATIONS
    ].items()
    return Put(DESTINATIONS, key_bytes, value)
