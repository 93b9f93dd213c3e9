"""From values to the bytes of the maps; pure."""

from __future__ import annotations

import ctypes
import socket
import sys
from collections.abc import Mapping
from functools import cache

from culvert.compile.changes import changed_keys
from culvert.model.redirect import (
    ANY_PORT,
    Address16,
    Destination,
    DestinationKey,
    ProxyListener,
    RedirectConfig,
    RedirectTable,
    address_text,
)
from culvert.redirect import abi

MapContents = dict[str, dict[bytes, bytes]]
"""map name -> key bytes -> value bytes."""

CONFIG = "cv_config"
DESTINATIONS = "cv_destinations"
PODS = "cv_pods"
EXCLUDED_PORTS = "cv_excluded_ports"
EXCLUDED_CIDRS = "cv_excluded_cidrs"
LOCAL = "cv_local"
STRICT = "cv_strict"
STRICT_PODS = "cv_strict_pods"

RECONCILED_MAPS = (
    CONFIG,
    EXCLUDED_PORTS,
    EXCLUDED_CIDRS,
    LOCAL,
    STRICT,
    STRICT_PODS,
    DESTINATIONS,
    PODS,
)
"""In the order of writing: what a pod's entry relies on is there before the entry is."""

_SLOT_ZERO = bytes(4)
_PRESENT = (1).to_bytes(4, sys.byteorder)


def _bytes16(address: Address16 | None) -> ctypes.Array[ctypes.c_uint8]:
    return abi.AddressBytes.from_buffer_copy(address or bytes(16))


def encode_config(config: RedirectConfig) -> bytes:
    """``struct cv_config``."""
    value = abi.Config(
        proxy4=_bytes16(config.proxy4),
        proxy6=_bytes16(config.proxy6),
        flags=_config_flags(config),
        budget_bytes=config.budget_bytes,
        max_redirect_bytes=config.max_redirect_bytes,
        pod_level_min=config.pod_levels[0],
        pod_level_max=config.pod_levels[1],
        node_netns_cookie=config.node_netns_cookie,
    )
    for listener, port in config.listener_ports.items():
        if listener is not ProxyListener.DIRECT:
            value.listener_port_be[listener] = socket.htons(port)
    return bytes(value)


def shows_identity(config: bytes) -> bool:
    """Whether a ``struct cv_config`` has the proxy shown identity numbers."""
    return bool(abi.Config.from_buffer_copy(config).flags & abi.ConfigFlag.IDENTITY)


def _config_flags(config: RedirectConfig) -> abi.ConfigFlag:
    flags = abi.ConfigFlag(0)
    if config.accelerate:
        flags |= abi.ConfigFlag.ACCELERATE
    if config.identity:
        flags |= abi.ConfigFlag.IDENTITY
    return flags


def encode_destination_key(key: DestinationKey) -> bytes:
    """``struct cv_destination_key``."""
    return key.address + socket.htons(key.port_host).to_bytes(2, sys.byteorder) + bytes(2)


def encode_destination(destination: Destination) -> bytes:
    """``struct cv_destination``."""
    return _destination_value(destination.listener, destination.flags)


@cache
def _destination_value(listener: int, flags: int) -> bytes:
    """One object for each of the few values, however many entries have it."""
    return bytes((listener, flags, 0, 0))


def encode_table(config: RedirectConfig, table: RedirectTable) -> MapContents:
    """What every reconciled map must hold."""
    contents = _encode_node(config, table)
    for key, destination in table.destinations.items():
        contents[DESTINATIONS][encode_destination_key(key)] = encode_destination(destination)
    return contents


class TableEncoder:
    """Encodes one table after another, as ``encode_table`` does, and fast where little changed.

    What it gives is not to be changed. The contents of a map that stay are the same object.
    """

    def __init__(self) -> None:
        self._config: RedirectConfig | None = None
        self._table = RedirectTable()
        self._contents: MapContents = {}

    def encode(self, config: RedirectConfig, table: RedirectTable) -> MapContents:
        """What every reconciled map must hold."""
        if config == self._config and table is self._table:
            return self._contents
        before = self._contents
        contents = _encode_node(config, table)
        contents[DESTINATIONS] = self._destinations(table.destinations)
        self._contents = {
            name: before[name] if before.get(name) == entries else entries
            for name, entries in contents.items()
        }
        self._config, self._table = config, table
        return self._contents

    def _destinations(self, want: dict[DestinationKey, Destination]) -> dict[bytes, bytes]:
        entries = self._contents.get(DESTINATIONS, {})
        changed = changed_keys(self._table.destinations, want)
        if changed:
            entries = dict(entries)
        for key in changed:
            destination = want.get(key)
            if destination is None:
                del entries[encode_destination_key(key)]
            else:
                entries[encode_destination_key(key)] = encode_destination(destination)
        return entries


def encode_strict(strict: Mapping[DestinationKey, bool]) -> list[tuple[bytes, bytes]]:
    """Keys and values for ``cv_strict``; last comes what may be left out of a full map."""
    ordered = sorted(strict.items(), key=_strict_order)
    return [(encode_destination_key(key), _flag(is_strict)) for key, is_strict in ordered]


def encode_strict_pods(strict_pods: Mapping[int, bool]) -> list[tuple[bytes, bytes]]:
    """Keys and values for ``cv_strict_pods``; last comes what may be left out of a full map."""
    ordered = sorted(strict_pods.items(), key=lambda entry: (not entry[1], entry[0]))
    return [(_cgroup_key(cgroup_id), _flag(is_strict)) for cgroup_id, is_strict in ordered]


def _cgroup_key(cgroup_id: int) -> bytes:
    return cgroup_id.to_bytes(8, sys.byteorder)


def _strict_order(entry: tuple[DestinationKey, bool]) -> tuple[bool, bool, DestinationKey]:
    key, is_strict = entry
    return not is_strict, key.port_host != ANY_PORT, key


def _flag(value: bool) -> bytes:
    return int(value).to_bytes(4, sys.byteorder)


def _encode_node(config: RedirectConfig, table: RedirectTable) -> MapContents:
    """Every map but that of the destinations, which is empty."""
    contents: MapContents = {name: {} for name in RECONCILED_MAPS}
    contents[CONFIG][_SLOT_ZERO] = encode_config(config)
    for address, local_flags in table.local.items():
        contents[LOCAL][bytes(address)] = int(local_flags).to_bytes(4, sys.byteorder)
    for put_key, put_value in encode_strict(table.strict):
        contents[STRICT][put_key] = put_value
    for put_key, put_value in encode_strict_pods(table.strict_pods):
        contents[STRICT_PODS][put_key] = put_value
    for cgroup_id, pod in table.pods.items():
        flags = int(pod.flags)
        for port in pod.excluded_ports:
            flags |= abi.PodMapFlag.EXCLUDES_PORTS
            port_key = abi.ExcludedPortKey(cgroup_id=cgroup_id, port_be=socket.htons(port))
            contents[EXCLUDED_PORTS][bytes(port_key)] = _PRESENT
        for network, prefix_bits in pod.excluded_cidrs:
            flags |= abi.PodMapFlag.EXCLUDES_CIDRS
            cidr_key = (
                (64 + prefix_bits).to_bytes(4, sys.byteorder) + _cgroup_key(cgroup_id) + network
            )
            contents[EXCLUDED_CIDRS][cidr_key] = _PRESENT
        value = abi.Pod(flags=flags, identity_number=pod.identity_number)
        for own in pod.addresses:
            family4 = ":" not in address_text(own)
            setattr(value, "address4" if family4 else "address6", _bytes16(own))
        contents[PODS][_cgroup_key(cgroup_id)] = bytes(value)
    return contents
