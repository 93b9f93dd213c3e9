"""Following connections, and ending those that policies no longer allow."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import msgspec
import pytest
from culvert.agent.live_connections import LiveConnections
from culvert.compile import filter_state
from culvert.compile.authorization.live import Remark
from culvert.model.live import LiveConnection, Moment
from culvert.model.policy import (
    AssignedPolicy,
    AuthorizationAction,
    AuthorizationPolicy,
    Operation,
    Rule,
    Source,
)
from culvert.netlink.socket_destroy import Socket, destroy_sockets
from culvert.xds.connection_log import read_entry
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogCommon
from google.protobuf.wrappers_pb2 import StringValue

CART = "spiffe://cluster.local/ns/shop/sa/cart"
OTHER = "spiffe://cluster.local/ns/shop/sa/other"


def connection(port: int, principal: str = CART, pod: str = "10.0.0.9") -> LiveConnection:
    return LiveConnection("10.0.0.254", port, pod, 8080, principal, "10.0.0.1")


def only(account: str) -> AssignedPolicy:
    return AssignedPolicy(
        AuthorizationPolicy(
            namespace="shop",
            name="only",
            action=AuthorizationAction.ALLOW,
            rules=(Rule(sources=(Source(principals=(f"cluster.local/ns/shop/sa/{account}",)),)),),
        )
    )


class Kernel:
    """Remembers which sockets were to end."""

    def __init__(self) -> None:
        self.ended: list[Socket] = []

    def destroy(self, sockets: Iterable[Socket]) -> int:
        before = len(self.ended)
        self.ended += sockets
        return len(self.ended) - before


async def settle(live: LiveConnections) -> None:
    task = asyncio.create_task(live.run())
    await asyncio.sleep(0.05)
    task.cancel()


async def test_a_new_policy_ends_what_it_refuses_and_nothing_else() -> None:
    kernel = Kernel()
    live = LiveConnections(kernel.destroy)
    live.told(connection(1, CART), Moment.BEGINS)
    live.told(connection(2, OTHER), Moment.BEGINS)
    live.told(connection(3, OTHER, pod="10.0.0.10"), Moment.BEGINS)
    live.told(connection(4, ""), Moment.BEGINS)
    live.take_policies({"10.0.0.9": [only("cart")]})
    await settle(live)
    assert sorted(one[1] for one in kernel.ended) == [2, 4]
    assert live.cut_total == 2
    assert live.count == 2


async def test_a_connection_that_was_let_in_a_moment_before_is_judged_when_it_is_told_of() -> None:
    kernel = Kernel()
    live = LiveConnections(kernel.destroy)
    live.take_policies({"10.0.0.9": [only("cart")]})
    live.told(connection(1, OTHER), Moment.BEGINS)
    await settle(live)
    assert [one[1] for one in kernel.ended] == [1]


async def test_a_connection_that_has_ended_is_nobodys_business() -> None:
    kernel = Kernel()
    live = LiveConnections(kernel.destroy)
    live.told(connection(1, OTHER), Moment.BEGINS)
    live.told(connection(1, OTHER), Moment.ENDS)
    live.take_policies({"10.0.0.9": [only("cart")]})
    await settle(live)
    assert kernel.ended == []


async def test_a_connection_that_nobody_speaks_of_is_forgotten() -> None:
    now_seconds = 0.0
    live = LiveConnections(Kernel().destroy, lambda: now_seconds)
    live.told(connection(1), Moment.BEGINS)
    now_seconds = 1000.0
    live.take_policies({"10.0.0.9": [only("cart")]})
    await settle(live)
    assert live.count == 0


async def test_dry_runs_and_audits_refuse_nothing_and_are_counted_once_a_connection() -> None:
    kernel = Kernel()
    live = LiveConnections(kernel.destroy)
    tried = msgspec.structs.replace(only("cart").policy, dry_run=True)
    audit = msgspec.structs.replace(
        tried, name="all", action=AuthorizationAction.AUDIT, rules=(Rule(),)
    )
    live.take_policies({"10.0.0.9": [AssignedPolicy(tried), AssignedPolicy(audit)]})
    for moment in (Moment.BEGINS, Moment.LASTS, Moment.ENDS):
        live.told(connection(1, CART), moment)
        live.told(connection(2, OTHER), moment)
    await settle(live)
    assert kernel.ended == []
    assert live.remarks_total == {
        (Remark.AUDITED, "shop/all"): 2,
        (Remark.WOULD_DENY, ""): 1,
    }


async def test_a_connection_of_requests_ends_when_none_of_its_callers_could_be_allowed() -> None:
    kernel = Kernel()
    live = LiveConnections(kernel.destroy)
    for port, principal in ((1, CART), (2, OTHER)):
        one = connection(port, principal)._replace(carries_requests=True)
        live.told(one, Moment.LASTS)
    policy = only("cart").policy
    reads = msgspec.structs.replace(policy.rules[0], operations=(Operation(methods=("GET",)),))
    policy = msgspec.structs.replace(policy, rules=(reads,))
    live.take_policies({"10.0.0.9": [AssignedPolicy(policy)]})
    await settle(live)
    assert [one[1] for one in kernel.ended] == [2]


async def test_a_kernel_that_cannot_end_connections_is_said_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def cannot(_: Iterable[Socket]) -> int:
        raise OSError(95, "Operation not supported")

    live = LiveConnections(cannot)
    live.told(connection(1, OTHER), Moment.BEGINS)
    live.take_policies({"10.0.0.9": [only("cart")]})
    await settle(live)
    assert live.cut_total == 0
    assert "cannot be ended" in capsys.readouterr().out


@pytest.mark.kernel
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_kernel_ends_the_one_connection_that_is_named(address: str) -> None:
    with socket.create_server((address, 0), family=_family(address)) as server:
        port = server.getsockname()[1]
        first, second = (socket.create_connection((address, port)) for _ in range(2))
        with first, second:
            accepted = [server.accept()[0] for _ in range(2)]
            near = first.getsockname()[1]
            assert destroy_sockets([(address, near, address, port)]) == 1
            with pytest.raises(ConnectionError):
                first.recv(1)
            accepted[1].sendall(b"x")
            assert second.recv(1) == b"x"
            assert destroy_sockets([(address, near, address, port)]) == 0
            for one in accepted:
                one.close()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def entry(**addresses: tuple[str, int]) -> AccessLogCommon:
    one = AccessLogCommon()
    for name, (address, port) in addresses.items():
        where = getattr(one, name).socket_address
        where.address, where.port_value = address, port
    for key, text in ((filter_state.PRINCIPAL, CART), (filter_state.SOURCE, "10.0.0.1")):
        one.filter_state_objects[key].Pack(StringValue(value=text))
    return one


def test_an_entry_is_read() -> None:
    read = read_entry(
        entry(upstream_local_address=("10.0.0.254", 7), upstream_remote_address=("10.0.0.9", 8080))
    )
    assert read == connection(7)


def test_a_hop_inside_the_proxy_is_no_connection_to_a_pod() -> None:
    inside = entry(upstream_local_address=("10.0.0.254", 7))
    inside.upstream_remote_address.envoy_internal_address.server_listener_name = "tunnel_to_pod"
    assert read_entry(inside) is None
    assert read_entry(AccessLogCommon()) is None
