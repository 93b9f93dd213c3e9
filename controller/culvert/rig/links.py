"""Links, addresses and routes of a rig, by netlink (see rtnetlink(7) and veth(4)).

Every function that takes an ``IPRoute`` acts in the namespace that socket was opened in. Nothing
waits for neighbour discovery or duplicate address detection: both ends of a pod link know each
other's MAC address from the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET, AF_INET6

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from culvert.rig.addressing import (
    FABRIC4,
    FABRIC6,
    GATEWAY4,
    GATEWAY6,
    GATEWAY_MAC,
    POD_MAC,
    NodeAddresses,
    PodAddresses,
)

POD_LINK_GROUP = 0xC417
"""Link group of the node's end of every pod link: one request removes them all."""

_LO = 1
_NUD_PERMANENT = 0x80
_SCOPE_UNIVERSE = 0
_SCOPE_LINK = 253
_RTNH_F_ONLINK = 4
_IFA_F_NODAD = 2

_COMMON_SYSCTLS = {
    "net/ipv6/conf/all/disable_ipv6": "0",
    "net/ipv6/conf/default/disable_ipv6": "0",
    "net/ipv6/conf/lo/disable_ipv6": "0",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/all/accept_ra": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/router_solicitations": "0",
    # Replies of captured connections come from an address that is not the link's.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}

POD_SYSCTLS = _COMMON_SYSCTLS
ROUTER_SYSCTLS = _COMMON_SYSCTLS | {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    # The next hops of a big rig, and its pods, fit without garbage collection.
    "net/ipv4/neigh/default/gc_thresh3": "16384",
    "net/ipv6/neigh/default/gc_thresh3": "16384",
}


@contextmanager
def netlink_errors(what: str) -> Iterator[None]:
    """Turn an error answer of the kernel into an ``OSError`` that says what was asked."""
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, f"{what}: {error.args[-1]}") from error


def open_netlink() -> IPRoute:
    """Open a netlink socket in the calling thread's namespace.

    It may be used by this thread only, and not while the thread runs an event loop. It hears no
    broadcasts, which nobody would read.
    """
    return IPRoute(groups=0)


def loopback_up(ipr: IPRoute) -> None:
    """Switch ``lo`` on."""
    ipr.link("set", index=_LO, state="up")


def make_fabric(ipr: IPRoute, *, mtu: int) -> int:
    """Make the bridge all nodes are plugged into, with addresses of its own; return its index.

    Those addresses stand for the world outside: each node's default route leads there.
    """
    index = 10
    ipr.link(
        "add",
        ifname="br0",
        kind="bridge",
        index=index,
        mtu=mtu,
        br_stp_state=0,
        br_mcast_snooping=0,
    )
    ipr.link("set", index=index, state="up")
    _add_address(ipr, index, FABRIC4, 24)
    _add_address(ipr, index, FABRIC6, 64)
    return index


def plug_node(
    ipr: IPRoute, addresses: NodeAddresses, *, bridge: int, node_netns: int, mtu: int
) -> None:
    """From the fabric: connect a node's ``eth0`` to the bridge and route its pods there."""
    index = 1000 + addresses.index
    ipr.link(
        "add",
        ifname=f"node{addresses.index}",
        kind="veth",
        index=index,
        mtu=mtu,
        peer={"ifname": "eth0", "mtu": mtu, "net_ns_fd": node_netns},
    )
    ipr.link("set", index=index, master=bridge, state="up")
    route_pods_via(ipr, addresses, link=bridge)


def eth0(ipr: IPRoute) -> int:
    """Return the index of ``eth0``."""
    index: int = ipr.link_lookup(ifname="eth0")[0]
    return index


def route_pods_via(ipr: IPRoute, addresses: NodeAddresses, *, link: int) -> None:
    """Route the pods of a node to that node, over the fabric."""
    for cidr, gateway in (
        (addresses.pod_cidr4, addresses.ipv4),
        (addresses.pod_cidr6, addresses.ipv6),
    ):
        ipr.route("add", family=_family(gateway), dst=cidr, gateway=gateway, oif=link)


def configure_node(ipr: IPRoute, addresses: NodeAddresses, proxies: PodAddresses) -> int:
    """From a node: give ``eth0`` its addresses, ``lo`` the proxy's, and a default route.

    Returns the index of ``eth0``.
    """
    loopback_up(ipr)
    link = eth0(ipr)
    _add_address(ipr, _LO, proxies.ipv4, 32)
    _add_address(ipr, _LO, proxies.ipv6, 128)
    _add_address(ipr, link, addresses.ipv4, 24)
    _add_address(ipr, link, addresses.ipv6, 64)
    ipr.link("set", index=link, state="up")
    for gateway in (FABRIC4, FABRIC6):
        ipr.route("add", family=_family(gateway), dst="default", gateway=gateway, oif=link)
    return link


def pod_link_index(number: int) -> int:
    """Return the index, in the node, of the link of pod ``number``."""
    return 100 + number


def make_pod_link(ipr: IPRoute, *, number: int, pod_netns: int, mtu: int) -> None:
    """From a node: make a pod's link, its far end being ``eth0`` in the pod."""
    ipr.link(
        "add",
        ifname=f"pod{number}",
        kind="veth",
        index=pod_link_index(number),
        address=GATEWAY_MAC,
        mtu=mtu,
        group=POD_LINK_GROUP,
        state="up",
        peer={"ifname": "eth0", "address": POD_MAC, "mtu": mtu, "net_ns_fd": pod_netns},
    )


def configure_pod(ipr: IPRoute, addresses: PodAddresses) -> None:
    """From a pod: give ``eth0`` its addresses and default routes.

    The gateway is a link-local address that nobody holds; its MAC address is all that counts.
    """
    loopback_up(ipr)
    link = eth0(ipr)
    _add_address(ipr, link, addresses.ipv4, 32)
    _add_address(ipr, link, addresses.ipv6, 128)
    ipr.link("set", index=link, state="up")
    for gateway in (GATEWAY4, GATEWAY6):
        _add_neighbour(ipr, link, gateway, GATEWAY_MAC)
        ipr.route(
            "add",
            family=_family(gateway),
            dst="default",
            gateway=gateway,
            oif=link,
            flags=_RTNH_F_ONLINK,
        )


def attach_pod(ipr: IPRoute, node: NodeAddresses, addresses: PodAddresses, *, number: int) -> None:
    """From a node: route a pod's addresses to its link."""
    link = pod_link_index(number)
    for address, bits, source, scope in (
        (addresses.ipv4, 32, node.ipv4, _SCOPE_LINK),
        (addresses.ipv6, 128, node.ipv6, _SCOPE_UNIVERSE),
    ):
        _add_neighbour(ipr, link, address, POD_MAC)
        # Without a preferred source the kernel may take the proxy's address, the first it finds.
        ipr.route(
            "add",
            family=_family(address),
            dst=f"{address}/{bits}",
            oif=link,
            prefsrc=source,
            scope=scope,
        )


def detach_pod(ipr: IPRoute, *, number: int) -> None:
    """From a node: remove a pod's link, and with it the routes over it."""
    ipr.link("del", index=pod_link_index(number))


def _family(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


def _add_address(ipr: IPRoute, link: int, address: str, bits: int) -> None:
    family = _family(address)
    flags = {"flags": _IFA_F_NODAD} if family == AF_INET6 else {}
    ipr.addr("add", index=link, family=family, address=address, prefixlen=bits, **flags)


def _add_neighbour(ipr: IPRoute, link: int, address: str, mac: str) -> None:
    ipr.neigh(
        "replace",
        family=_family(address),
        dst=address,
        lladdr=mac,
        ifindex=link,
        state=_NUD_PERMANENT,
    )
