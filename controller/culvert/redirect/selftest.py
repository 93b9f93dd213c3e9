"""The behaviour self-test: does this kernel's sockmap do what the sequenced switch relies on?

Runs with the very programs that are about to be attached, on maps of their own, over loopback in a
network namespace of its own. Each case is something that some kernel has got wrong.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import random
import select
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from culvert.redirect.abi import Verdict
from culvert.redirect.kernel import KernelMaps
from culvert.redirect.namespace import network_namespace_cookie
from culvert.redirect.report import CaseResult

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_SO_ZEROCOPY = 60
_MSG_ZEROCOPY = 0x4000000
_TIMEOUT_SECONDS = 5.0
_COMPLETION_MILLISECONDS = 500
SMALL_BYTES = 512


class CaseFailedError(Exception):
    """The kernel did something else; the message says what."""


def enter_private_network() -> int:
    """Move this process to a new network namespace with loopback up; returns the cookie.

    Raises:
        OSError: not permitted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)
    return network_namespace_cookie()


class Harness:
    """Connected socket pairs, and what the programs decided about them."""

    def __init__(self, maps: KernelMaps, budget_bytes: int, max_redirect_bytes: int) -> None:
        self.maps = maps
        self.budget_bytes = budget_bytes
        self.large = os.urandom(max_redirect_bytes * 4)
        self._stack = ExitStack()

    def close(self) -> None:
        """Close every socket that was handed out."""
        self._stack.close()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A connected (client, server) over loopback, both enrolled."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = self._stack.enter_context(
                socket.create_connection(listener.getsockname(), timeout=_TIMEOUT_SECONDS)
            )
            server = self._stack.enter_context(listener.accept()[0])
        server.settimeout(_TIMEOUT_SECONDS)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, server

    def redirected(self) -> int:
        """How many sends were redirected so far."""
        return self.maps.tallies()[Verdict.SEND_REDIRECTED].count


def expect(condition: bool, otherwise: str) -> None:
    """Let a case fail, with these words, where ``condition`` does not hold."""
    if not condition:
        raise CaseFailedError(otherwise)


def _read_exactly(end: socket.socket, wanted: int) -> bytes:
    parts = []
    while wanted:
        part = end.recv(min(wanted, 1 << 16))
        expect(bool(part), f"the stream ended {wanted} bytes early")
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def _unread_bytes(end: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(end, termios.FIONREAD, bytes(4)))[0])


def _redirects(harness: Harness) -> str:
    client, server = harness.pair()
    before = harness.redirected()
    for _ in range(10):
        client.sendall(bytes(SMALL_BYTES))
        _read_exactly(server, SMALL_BYTES)
        server.sendall(bytes(SMALL_BYTES))
        _read_exactly(client, SMALL_BYTES)
    count = harness.redirected() - before
    expect(count == 20, f"{count} of 20 request and response sends were redirected")
    return "20 of 20 sends redirected"


def _ordering(harness: Harness) -> str:
    client, server = harness.pair()
    rng = random.Random(1)
    sent, received, total = hashlib.sha256(), hashlib.sha256(), 0
    for _ in range(300):
        chunk = os.urandom(rng.choice((1, 100, SMALL_BYTES, 4096)))
        if rng.random() < 0.2:
            chunk = harness.large[: rng.randrange(1, len(harness.large))]
        sent.update(chunk)
        client.sendall(chunk)
        total += len(chunk)
        if rng.random() < 0.7 or total > 200_000:
            received.update(_read_exactly(server, total))
            total = 0
    received.update(_read_exactly(server, total))
    expect(sent.digest() == received.digest(), "bytes arrived in another order")
    return "300 chunks, small and large mixed, in order"


def _backpressure(harness: Harness) -> str:
    client, server = harness.pair()
    client.setblocking(False)
    sent = 0
    digest = hashlib.sha256()
    chunk = bytes(range(256)) * 16
    limit = harness.budget_bytes + (64 << 20)
    while True:
        try:
            count = client.send(chunk)
        except BlockingIOError:
            break
        except OSError as error:
            raise CaseFailedError(
                f"the sender got {errno.errorcode.get(error.errno or 0)} instead of EAGAIN"
            ) from error
        digest.update(chunk[:count])
        sent += count
        expect(sent < limit, f"a reader that does not read let {sent} bytes queue up")
    received = hashlib.sha256(_read_exactly(server, sent))
    expect(received.digest() == digest.digest(), "bytes were lost or reordered under pressure")
    return f"held at {sent} bytes"


def _half_close(harness: Harness) -> str:
    client, server = harness.pair()
    client.sendall(b"request")
    client.shutdown(socket.SHUT_WR)
    expect(_read_exactly(server, 7) == b"request", "bytes before the FIN differ")
    expect(server.recv(1) == b"", "no end of stream after shutdown()")
    server.sendall(b"response")
    server.close()
    expect(_read_exactly(client, 8) == b"response", "bytes after the peer's FIN differ")
    expect(client.recv(1) == b"", "no end of stream after close()")
    return "both directions closed one by one"


def _fionread_redirected(harness: Harness) -> str:
    client, server = harness.pair()
    client.sendall(bytes(SMALL_BYTES))
    expect(select.select([server], [], [], _TIMEOUT_SECONDS)[0] != [], "never readable")
    seen = _unread_bytes(server)
    expect(seen == SMALL_BYTES, f"FIONREAD says {seen} for {SMALL_BYTES} redirected bytes")
    return "exact for redirected bytes"


def _fionread_tcp(harness: Harness) -> str:
    client, server = harness.pair()
    client.sendall(harness.large)
    peeked = server.recv(SMALL_BYTES, socket.MSG_PEEK | socket.MSG_WAITALL)
    seen = _unread_bytes(server)
    expect(seen >= len(peeked), f"FIONREAD says {seen} with {len(peeked)} TCP bytes unread")
    return "exact for bytes that came by TCP"


def _wakeups(harness: Harness) -> str:
    client, server = harness.pair()
    server.setblocking(False)
    poller = select.epoll()
    try:
        poller.register(server, select.EPOLLIN | select.EPOLLET | select.EPOLLRDHUP)
        for index, chunk in enumerate((b"a", harness.large, b"b", harness.large, b"c") * 5):
            client.sendall(chunk)
            left = len(chunk)
            while left:
                events = poller.poll(_TIMEOUT_SECONDS)
                expect(bool(events), f"no wakeup for write {index} of {len(chunk)} bytes")
                while left:
                    try:
                        left -= len(server.recv(1 << 16))
                    except BlockingIOError:
                        break
        client.close()
        expect(bool(poller.poll(_TIMEOUT_SECONDS)), "no wakeup for the end of the stream")
    finally:
        poller.close()
    return "an edge for every write and for the FIN"


def _interrupted_read(harness: Harness) -> str:
    client, server = harness.pair()
    server.settimeout(None)
    reader = threading.get_ident()
    previous = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    timers = (
        threading.Timer(0.1, signal.pthread_kill, (reader, signal.SIGUSR1)),
        threading.Timer(0.3, client.sendall, (bytes(SMALL_BYTES),)),
    )
    try:
        for timer in timers:
            timer.start()
        expect(len(server.recv(SMALL_BYTES)) == SMALL_BYTES, "the read ended early")
    except BlockingIOError as error:
        raise CaseFailedError("a blocking read that a signal interrupts gets EAGAIN") from error
    finally:
        for timer in timers:
            timer.join()
        signal.signal(signal.SIGUSR1, previous)
    return "goes on after a signal"


def _waitall(harness: Harness) -> str:
    client, server = harness.pair()
    server.settimeout(None)
    client.sendall(bytes(SMALL_BYTES))
    later = threading.Timer(0.1, client.sendall, (bytes(SMALL_BYTES),))
    later.start()
    try:
        got = len(server.recv(2 * SMALL_BYTES, socket.MSG_WAITALL))
    finally:
        later.join()
    expect(got == 2 * SMALL_BYTES, f"MSG_WAITALL returned {got} of {2 * SMALL_BYTES} bytes")
    return "waits for all"


def _zerocopy(harness: Harness) -> str:
    client, server = harness.pair()
    client.setsockopt(socket.SOL_SOCKET, _SO_ZEROCOPY, 1)
    client.send(bytes(SMALL_BYTES), _MSG_ZEROCOPY)
    _read_exactly(server, SMALL_BYTES)
    poller = select.poll()
    poller.register(client, 0)  # errors are always reported, and a completion is one
    expect(bool(poller.poll(_COMPLETION_MILLISECONDS)), "a MSG_ZEROCOPY send never completes")
    return "completes"


def _reconnect(harness: Harness) -> str:
    client, server = harness.pair()
    server.sendall(b"old")
    expect(bool(select.select([client], [], [], _TIMEOUT_SECONDS)[0]), "nothing came")
    _disconnect(client)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client.connect(listener.getsockname())
        with listener.accept()[0] as second:
            second.sendall(b"new")
    got = _read_exactly(client, len(b"new"))
    expect(got == b"new", "a socket that is connected anew reads bytes of its last connection")
    return "only bytes of the new connection"


def _disconnect(end: socket.socket) -> None:
    """connect() to AF_UNSPEC dissolves the association, see connect(2)."""
    address = struct.pack("=H14x", socket.AF_UNSPEC)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(end.fileno(), address, len(address)):
        raise OSError(ctypes.get_errno(), "connect(AF_UNSPEC)")


CASES: tuple[tuple[str, Callable[[Harness], str]], ...] = (
    ("redirects", _redirects),
    ("ordering", _ordering),
    ("backpressure", _backpressure),
    ("half-close", _half_close),
    ("wakeups", _wakeups),
    ("fionread-redirected", _fionread_redirected),
    ("fionread-tcp", _fionread_tcp),
    ("interrupted-read", _interrupted_read),
    ("waitall", _waitall),
    ("zerocopy", _zerocopy),
    ("reconnect", _reconnect),
)

ONLY_ON_REQUEST = frozenset(
    {
        "fionread-redirected",
        "fionread-tcp",
        "interrupted-read",
        "waitall",
        "zerocopy",
        "reconnect",
    }
)
"""Cases whose failure harms only some applications: those that ask FIONREAD, that read on blocking
sockets and handle signals, that rely on MSG_WAITALL, that send with MSG_ZEROCOPY, or that dissolve
a connection with bytes unread and use the socket for another. Acceleration stays available to pods
that ask for it, and is off for the others."""


def run_cases(maps: KernelMaps, budget_bytes: int, max_redirect_bytes: int) -> list[CaseResult]:
    """Run every case; to be called in the private network, in the self-test's cgroup."""
    results = []
    for name, case in CASES:
        harness = Harness(maps, budget_bytes, max_redirect_bytes)
        try:
            results.append(run_case(name, partial(case, harness)))
        finally:
            harness.close()
    return results


def run_case(name: str, case: Callable[[], str]) -> CaseResult:
    """Run one case; whatever goes wrong is its result."""
    try:
        return CaseResult(name, True, case())
    except CaseFailedError as failure:
        return CaseResult(name, False, str(failure))
    except TimeoutError:
        return CaseResult(name, False, f"stalled for {_TIMEOUT_SECONDS:g} s")
    except OSError as error:
        return CaseResult(name, False, str(error))
