"""R4, R5, R6: what an application is told about bytes that wait for it."""

from __future__ import annotations

import asyncio
import select
import socket

import pytest

from tests.kernel.accelerated import SMALL, enrolled_pair, read_exactly, redirected, unread_bytes
from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel


def test_fionread_is_exact_for_redirected_bytes(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path)
    with client, server:
        client.sendall(SMALL)
        client.sendall(SMALL)
        assert redirected(data_path) == 2
        assert unread_bytes(server) == 2 * len(SMALL)
        read_exactly(server, 10)
        assert unread_bytes(server) == 2 * len(SMALL) - 10


def test_fionread_for_tcp_bytes_is_as_the_self_test_reported(data_path: DataPath) -> None:
    passed = {case.name: case.passed for case in data_path.loaded.report.self_test}
    client, server = enrolled_pair(data_path, max_redirect_bytes=1)
    with client, server:
        client.sendall(SMALL)
        assert select.select([server], [], [], 10)[0] == [server]
        assert unread_bytes(server) == (len(SMALL) if passed["fionread-tcp"] else 0)
        assert read_exactly(server, len(SMALL)) == SMALL


def test_fionread_of_a_socket_that_is_not_enrolled_is_exact(data_path: DataPath) -> None:
    client_pod, server_pod = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.apply()
    client, server = data_path.pair(client_pod, server_pod)
    with client, server:
        client.sendall(SMALL)
        assert select.select([server], [], [], 10)[0] == [server]
        assert unread_bytes(server) == len(SMALL)


@pytest.mark.parametrize("edge", [0, select.EPOLLET], ids=["level", "edge"])
@pytest.mark.parametrize("limit_bytes", [1 << 20, 64], ids=["redirected", "by-tcp"])
def test_epoll_wakes_for_every_write_and_for_the_end(
    data_path: DataPath, edge: int, limit_bytes: int
) -> None:
    client, server = enrolled_pair(data_path, max_redirect_bytes=limit_bytes)
    server.setblocking(False)
    poller = select.epoll()
    with client, server:
        poller.register(server, select.EPOLLIN | select.EPOLLRDHUP | edge)
        for _ in range(50):
            client.sendall(SMALL)
            left = len(SMALL)
            while left:
                assert poller.poll(10), "no wakeup"
                try:
                    left -= len(server.recv(1 << 16))
                except BlockingIOError:
                    continue
        client.close()
        assert poller.poll(10), "no wakeup for the end of the stream"
        assert server.recv(1) == b""
    poller.close()


async def test_asyncio_streams_echo_every_byte(data_path: DataPath) -> None:
    client, server = enrolled_pair(data_path, max_redirect_bytes=8192)
    client.setblocking(False)
    server.setblocking(False)
    loop = asyncio.get_running_loop()

    async def echo() -> None:
        while part := await loop.sock_recv(server, 1 << 16):
            await loop.sock_sendall(server, part)
        server.shutdown(socket.SHUT_WR)

    async def send() -> None:
        for size in (1, 100, 9000, 70000) * 20:
            await loop.sock_sendall(client, bytes(size))
        client.shutdown(socket.SHUT_WR)

    async def receive() -> int:
        total = 0
        while part := await loop.sock_recv(client, 1 << 16):
            total += len(part)
        return total

    with client, server:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(echo())
            tasks.create_task(send())
            received = tasks.create_task(receive())
    assert received.result() == (1 + 100 + 9000 + 70000) * 20
