"""Brings the reports of many nodes to an intake, from a process that simulates some of them.

Sockets are used directly: a client library would cost as much as the intake that is measured.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import closing

import msgspec
from culvert.model.report import REPORTS_PATH, NodeReport

from tests.bench.reports_error import NotTakenError
from tests.bench.reports_intake import SERVER_NAME, Address
from tests.bench.reports_nodes import token_of

_ANSWER_SECONDS = 30.0


def feed(address: Address, nodes: Iterable[int], report_of: Callable[[int], NodeReport]) -> float:
    """Send one report for each node, one at a time; return when the last was answered.

    Monotonic seconds of the machine. Each goes by a connection of its own: the intake keeps none.

    Raises:
        NotTakenError: the intake answered with something else than 200.
        OSError: it did not answer.
    """
    trust = ssl.create_default_context(cadata=address.certificate)
    for node in nodes:
        with closing(_connect(address, trust)) as connection:
            _report(connection, node, report_of(node))
    return time.monotonic()


def _connect(address: Address, trust: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", address.port_host), _ANSWER_SECONDS)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return trust.wrap_socket(plain, server_hostname=SERVER_NAME)
    except BaseException:
        plain.close()
        raise


def _report(connection: ssl.SSLSocket, node: int, report: NodeReport) -> None:
    body = msgspec.json.encode(report)
    head = (
        f"POST {REPORTS_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token_of(node)}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    with closing(connection.makefile("rb")) as answer:
        status = answer.readline().split()[1:2]
        length = 0
        while line := answer.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        text = answer.read(length)
    if status != [b"200"]:
        raise NotTakenError(f"a report was not taken: {text.decode(errors='replace')}")
