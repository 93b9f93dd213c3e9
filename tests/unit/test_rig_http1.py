"""HTTP/1.1 framing of the workloads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from culvert.rig.workloads.http1 import BadMessageError, MessageReader
from hypothesis import given
from hypothesis import strategies as st

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
)
BODIES = [b"hello", b"", b"abc0123456789", b"", b""]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_messages_do_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    reader = MessageReader(responses=True)
    edges = [0, *sorted(cuts), len(STREAM)]
    messages = [
        message for start, end in pairwise(edges) for message in reader.feed(STREAM[start:end])
    ]
    assert [m.body for m in messages] == BODIES
    assert [m.body_bytes for m in messages] == [len(b) for b in BODIES]
    assert reader.idle
    assert reader.end() is None


def test_bodies_can_be_counted_without_being_kept() -> None:
    reader = MessageReader(responses=True, keep_bodies=False)
    (message,) = reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
    assert (message.body, message.body_bytes) == (b"", 4)


def test_response_without_length_runs_to_the_end() -> None:
    reader = MessageReader(responses=True)
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\npart") == []
    message = reader.end()
    assert message is not None
    assert message.body == b"part"


def test_request_without_length_has_no_body() -> None:
    reader = MessageReader(responses=False)
    (message,) = reader.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (message.header(b"host"), message.body) == (b"x", b"")
    assert message.keeps_alive


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length : 1\r\n\r\n",
        b"hello from server\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_broken_stream_is_refused(stream: bytes) -> None:
    with pytest.raises(BadMessageError):
        MessageReader(responses=False).feed(stream)


def test_stream_that_ends_inside_a_message_is_refused() -> None:
    reader = MessageReader(responses=True)
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
    with pytest.raises(BadMessageError):
        reader.end()


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_connection_header_decides_on_reuse(head: bytes, keeps: bool) -> None:
    (message,) = MessageReader(responses=False).feed(head)
    assert message.keeps_alive is keeps
