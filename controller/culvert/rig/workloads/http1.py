"""HTTP/1.1 framing (RFC 9112), as far as a test server and a load client need it; no I/O."""

from __future__ import annotations

from typing import NamedTuple

MAX_HEAD_BYTES = 256 * 1024

_NO_BODY_STATUS = (b"204", b"304")


class BadMessageError(ValueError):
    """The bytes are no HTTP/1.1 message."""


class Message(NamedTuple):
    """A request or a response.

    Header names and values are as they came. ``body`` is empty when the reader was told to count
    only; ``body_bytes`` is right in either case.
    """

    start_line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    body_bytes: int

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header, by its name in lower case."""
        for candidate, value in self.headers:
            if candidate.lower() == name:
                return value
        return None

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection can carry another message after this one (RFC 9112, 9.3)."""
        connection = self.header(b"connection")
        if connection is not None and b"close" in connection.lower():
            return False
        return b"HTTP/1.0" not in self.start_line


class MessageReader:
    """Cuts a stream of bytes into messages.

    ``responses`` tells which side is read: a response without a length runs to the end of the
    stream, a request without one has no body. Informational responses (1xx) are skipped.
    """

    def __init__(self, *, responses: bool, keep_bodies: bool = True) -> None:
        self._responses = responses
        self._keep = keep_bodies
        self._buffer = bytearray()
        self._head: tuple[bytes, list[tuple[bytes, bytes]]] | None = None
        self._left: int | None = 0
        """Bytes of the body, or of its chunk, still to come; None: up to the end of the stream."""
        self._chunked = False
        self._body = bytearray()
        self._body_bytes = 0

    @property
    def idle(self) -> bool:
        """Whether the stream is between two messages."""
        return self._head is None and not self._buffer

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes and return the messages they complete.

        Raises:
            BadMessageError: the stream is broken from here on.
        """
        self._buffer += data
        done: list[Message] = []
        while True:
            if self._head is None and not self._begin():
                return done
            if not self._advance():
                return done
            message = self._finish()
            if not (self._responses and message.start_line[9:10] == b"1"):
                done.append(message)

    def end(self) -> Message | None:
        """Tell that the stream ended; return the message that this completes, if one.

        Raises:
            BadMessageError: it ended inside a message.
        """
        if self._head is not None and self._left is None:
            return self._finish()
        if not self.idle:
            raise BadMessageError("the stream ended inside a message")
        return None

    def _begin(self) -> bool:
        """Take the start line and the headers off the buffer, when they are all there."""
        if self._buffer[:2] == b"\r\n":
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BadMessageError("the header section is too large")
            return False
        start_line, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        headers: list[tuple[bytes, bytes]] = []
        length: int | None = None
        self._chunked = False
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not name or name[-1:] in b" \t":
                raise BadMessageError(f"not a header: {line!r}")
            value = value.strip(b" \t")
            headers.append((name, value))
            lowered = name.lower()
            if lowered == b"content-length":
                if not value.isdigit():
                    raise BadMessageError(f"not a length: {value!r}")
                length = int(value)
            elif lowered == b"transfer-encoding":
                self._chunked = value.lower().endswith(b"chunked")
        if b"HTTP/1." not in start_line:
            raise BadMessageError(f"not a start line: {start_line!r}")
        self._head = (start_line, headers)
        self._left = 0 if self._chunked else self._length(start_line, length)
        return True

    def _length(self, start_line: bytes, length: int | None) -> int | None:
        if not self._responses:
            return length or 0
        status = start_line[9:12]
        if status in _NO_BODY_STATUS or status[:1] == b"1":
            return 0
        return length

    def _advance(self) -> bool:
        """Take what is there of the body; True when it is complete."""
        while True:
            if self._left is None:
                self._take(len(self._buffer))
                return False
            self._left -= self._take(min(self._left, len(self._buffer)))
            if self._left:
                return False
            if not self._chunked:
                return True
            if not self._next_chunk():
                return False
            if not self._chunked:
                return True

    def _take(self, count: int) -> int:
        if self._keep:
            self._body += self._buffer[:count]
        del self._buffer[:count]
        self._body_bytes += count
        return count

    def _next_chunk(self) -> bool:
        """Read the line before a chunk, or the trailers after the last; False: more is needed."""
        # The line end after the previous chunk's data.
        start = 2 if self._buffer[:2] == b"\r\n" else 0
        end = self._buffer.find(b"\r\n", start)
        if end < 0:
            return False
        try:
            size = int(bytes(self._buffer[start:end]).partition(b";")[0], 16)
        except ValueError:
            raise BadMessageError("not a chunk size") from None
        if size == 0:
            if self._buffer[end + 2 : end + 4] == b"\r\n":
                trailers_end = end + 4
            else:
                found = self._buffer.find(b"\r\n\r\n", end)
                if found < 0:
                    return False
                trailers_end = found + 4
            del self._buffer[:trailers_end]
            self._chunked = False
            return True
        del self._buffer[: end + 2]
        self._left = size
        return True

    def _finish(self) -> Message:
        assert self._head is not None
        message = Message(*self._head, bytes(self._body), self._body_bytes)
        self._head = None
        self._left = 0
        self._body.clear()
        self._body_bytes = 0
        return message
