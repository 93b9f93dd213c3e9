"""Mirror of ``bpf/include/abi.h``: the bytes of map keys and values.

A test compiles the header and compares every size and offset with these classes. Alignment and byte
order are native, but for fields that end in ``_be`` and for addresses: those are in network order.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_uint8, c_uint16, c_uint32, c_uint64
from enum import IntEnum, IntFlag

AddressBytes = c_uint8 * 16
_Ports = c_uint16 * 8
_TwoWords = c_uint32 * 2
_ThreeShorts = c_uint16 * 3


class Config(ctypes.Structure):
    """``struct cv_config``."""

    _fields_ = (
        ("proxy4", AddressBytes),
        ("proxy6", AddressBytes),
        ("listener_port_be", _Ports),
        ("flags", c_uint32),
        ("budget_bytes", c_uint32),
        ("max_redirect_bytes", c_uint32),
        ("pod_level_min", c_uint32),
        ("pod_level_max", c_uint32),
        ("reserved", c_uint32),
        ("node_netns_cookie", c_uint64),
    )


class DestinationKey(ctypes.Structure):
    """``struct cv_destination_key``."""

    _fields_ = (
        ("address", AddressBytes),
        ("port_be", c_uint16),
        ("reserved", c_uint16),
    )


class Destination(ctypes.Structure):
    """``struct cv_destination``."""

    _fields_ = (("listener", c_uint8), ("flags", c_uint8), ("reserved", c_uint16))


class Pod(ctypes.Structure):
    """``struct cv_pod``."""

    _fields_ = (
        ("address4", AddressBytes),
        ("address6", AddressBytes),
        ("flags", c_uint32),
        ("identity_number", c_uint32),
    )


class ExcludedPortKey(ctypes.Structure):
    """``struct cv_excluded_port_key``."""

    _fields_ = (
        ("cgroup_id", c_uint64),
        ("port_be", c_uint16),
        ("reserved", _ThreeShorts),
    )


class ExcludedCidrKey(ctypes.Structure):
    """``struct cv_excluded_cidr_key``."""

    _fields_ = (
        ("prefix_bits", c_uint32),
        ("cgroup_id_word", _TwoWords),
        ("network", AddressBytes),
    )


class Local(ctypes.Structure):
    """``struct cv_local``."""

    _fields_ = (("flags", c_uint32),)


class ConnectionKey(ctypes.Structure):
    """``struct cv_connection_key``."""

    _fields_ = (
        ("netns_cookie", c_uint64),
        ("local", AddressBytes),
        ("remote", AddressBytes),
        ("local_port_be", c_uint16),
        ("remote_port_be", c_uint16),
        ("reserved", c_uint32),
    )


class Peer(ctypes.Structure):
    """``struct cv_peer``."""

    _fields_ = (("tcp_sock", c_uint64), ("socket_cookie", c_uint64))


class Original(ctypes.Structure):
    """``struct cv_original``."""

    _fields_ = (
        ("address", AddressBytes),
        ("own", AddressBytes),
        ("port_be", c_uint16),
        ("family", c_uint16),
        ("identity_number", c_uint16),
        ("is_accepted", c_uint16),
    )


class Client(ctypes.Structure):
    """``struct cv_client``."""

    _fields_ = (
        ("address", AddressBytes),
        ("socket_cookie", c_uint64),
        ("is_accepted", c_uint32),
        ("reserved", c_uint32),
    )


class RefusedKey(ctypes.Structure):
    """``struct cv_refused_key``."""

    _fields_ = (
        ("source", AddressBytes),
        ("address", AddressBytes),
        ("port_be", c_uint16),
        ("reserved", c_uint16),
    )


class Counter(ctypes.Structure):
    """``struct cv_counter``, one per CPU."""

    _fields_ = (("count", c_uint64), ("bytes", c_uint64))


class ListenerCount(ctypes.Structure):
    """Value of the map ``cv_proxy_listeners``."""

    _fields_ = (("sockets", c_int64),)


class ConfigFlag(IntFlag):
    """``enum cv_config_flag``."""

    ACCELERATE = 1
    IDENTITY = 2


class PodMapFlag(IntFlag):
    """``enum cv_pod_flag``; the first two are also ``culvert.model.redirect.PodFlag``."""

    CAPTURED = 1
    FAIL_OPEN = 2
    EXCLUDES_PORTS = 4
    EXCLUDES_CIDRS = 8


class Verdict(IntEnum):
    """``enum cv_verdict``: every decision of the data path and its reason."""

    CONNECT_REDIRECTED = 0
    CONNECT_PASS_NOT_ENROLLED = 1
    CONNECT_PASS_NOT_TCP = 2
    CONNECT_PASS_NO_DESTINATION = 3
    CONNECT_PASS_DIRECT = 4
    CONNECT_PASS_SELF = 5
    CONNECT_PASS_EXCLUDED_PORT = 6
    CONNECT_PASS_EXCLUDED_CIDR = 7
    CONNECT_PASS_FAIL_OPEN = 8
    CONNECT_DENY_PROXY_ADDRESS = 9
    CONNECT_DENY_NO_PROXY_FAMILY = 10
    CONNECT_DENY_NO_MEMORY = 11
    HANDOFF_STORED = 12
    HANDOFF_FULL = 13
    HANDOFF_TAKEN = 14
    HANDOFF_MISSING = 15
    ORIGINAL_SERVED = 16
    ORIGINAL_UNKNOWN = 17
    ENROL_DONE = 18
    ENROL_SKIP_NOT_LOCAL = 19
    ENROL_SKIP_OFF = 20
    ENROL_SKIP_MPTCP = 21
    ENROL_SKIP_PEERS_FULL = 22
    ENROL_SKIP_SOCKHASH_FULL = 23
    SEND_REDIRECTED = 24
    SEND_TCP_OFF = 25
    SEND_TCP_LARGE = 26
    SEND_TCP_UNACKED = 27
    SEND_TCP_NO_PEER = 28
    SEND_TCP_PEER_GONE = 29
    SEND_TCP_PEER_UNREAD = 30
    SEND_TCP_NOT_IN_SEQUENCE = 31
    SEND_TCP_BUDGET = 32
    SEND_TCP_LEFT_SOCKHASH = 33
    ENROL_SKIP_PEER_NOT_ENROLLED = 34
    HANDOFF_WRONG_SOURCE = 35
    STRICT_ALLOWED_NODE = 36
    STRICT_ALLOWED_SELF = 37
    STRICT_REFUSED = 38
    CLIENT_STORED = 39
    CLIENT_FULL = 40
    CLIENT_TAKEN = 41
    CLIENT_REFUSED = 42


STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "cv_config": Config,
    "cv_destination_key": DestinationKey,
    "cv_destination": Destination,
    "cv_pod": Pod,
    "cv_excluded_port_key": ExcludedPortKey,
    "cv_excluded_cidr_key": ExcludedCidrKey,
    "cv_local": Local,
    "cv_connection_key": ConnectionKey,
    "cv_peer": Peer,
    "cv_original": Original,
    "cv_client": Client,
    "cv_refused_key": RefusedKey,
    "cv_counter": Counter,
}
