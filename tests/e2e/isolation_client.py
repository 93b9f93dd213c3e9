"""Calls what its account may call, and what others may, and says how often each was as it must be.

A server's policy lets each account in at paths and a port of its own, and nowhere else. So whoever
is taken for another account gets an answer that it should not get.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from collections import Counter
from typing import Any

from tests.e2e.isolation_server import ACCOUNT_PORT

TIMEOUT_SECONDS = 20.0
_OWN_SHARE = 0.7
_BYTES_SHARE = 0.06
_FRESH_SHARE = 0.02
_TELL_SECONDS = 0.5

Place = tuple[str, int]


class Client:
    """``places`` answer requests; ``hosts`` have a port for the bytes of each account."""

    def __init__(self, account: int, accounts: int, places: list[Place], hosts: list[str]) -> None:
        self._account, self._accounts = account, accounts
        self._places, self._hosts = places, hosts
        self._kept: dict[Place, socket.socket] = {}
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def once(self) -> None:
        """One call, of either kind."""
        account = self._account
        if random.random() >= _OWN_SHARE:
            account = random.randrange(self._accounts)
        is_bytes = random.random() < _BYTES_SHARE
        try:
            if is_bytes:
                where = random.choice(self._hosts), ACCOUNT_PORT + account
                is_let_in = self._send_bytes(where)
            else:
                where = random.choice(self._places)
                status = self._send_request(where, account)
                if status not in (200, 403):
                    self.counts[f"status {status}"] += 1
                    return
                is_let_in = status == 200
        except OSError as error:
            self.counts[type(error).__name__] += 1
            return
        is_own = account == self._account
        self.counts["bytes" if is_bytes else "requests"] += 1
        if is_let_in == is_own:
            self.counts["let in" if is_own else "refused"] += 1
        elif len(self.wrong) < 5:
            self.wrong.append(f"account {self._account} as {account} at {where}: {is_let_in}")

    def _send_request(self, place: Place, account: int) -> int:
        """The status of the answer."""
        connection = self._kept.pop(place, None)
        if connection is None or random.random() < _FRESH_SHARE:
            if connection is not None:
                connection.close()
            connection = self._connect(place)
        try:
            connection.sendall(b"GET /%d/x HTTP/1.1\r\nHost: web\r\n\r\n" % account)
            status = _read_answer(connection)
        except BaseException:
            connection.close()
            raise
        self._kept[place] = connection
        return status

    def _send_bytes(self, place: Place) -> bool:
        """Whether they came back."""
        with self._connect(place) as connection:
            try:
                connection.sendall(b"x")
                return connection.recv(1) == b"x"
            except ConnectionError:
                return False

    def _connect(self, place: Place) -> socket.socket:
        connection = socket.create_connection(place, timeout=TIMEOUT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _read_answer(connection: socket.socket) -> int:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(4096)
        if not part:
            raise ConnectionAbortedError
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length:")
    missing = int(length.split(b"\r\n")[0] or b"0") - len(body)
    while missing > 0:
        part = connection.recv(missing)
        if not part:
            raise ConnectionAbortedError
        missing -= len(part)
    return int(head[9:12])


def main() -> None:
    """Argument: JSON with ``account``, ``accounts``, ``places`` and ``hosts``. Never ends."""
    told: dict[str, Any] = json.loads(sys.argv[1])
    places = [(host, port) for host, port in told["places"]]
    client = Client(told["account"], told["accounts"], places, told["hosts"])
    next_line_seconds = 0.0
    while True:
        client.once()
        if time.monotonic() >= next_line_seconds:
            next_line_seconds = time.monotonic() + _TELL_SECONDS
            print(json.dumps({"counts": client.counts, "wrong": client.wrong}), flush=True)


if __name__ == "__main__":
    main()
