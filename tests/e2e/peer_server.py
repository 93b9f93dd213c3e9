"""A server that tells each client from which address it came: ``peer_server.py <tcp|http> <port>``.

Over TCP what accept() and getpeername() say, a line each; over HTTP a line with both for every
request, so that it shows whose connection a request came in.
"""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer


def peer(connection: socket.socket, accepted: str) -> bytes:
    """Both answers, of which IPv4-mapped ones in the form of IPv4."""
    asked = str(connection.getpeername()[0])
    return f"{accepted} {asked}\n".replace("::ffff:", "").encode()


class Line(BaseRequestHandler):
    """One connection of bytes."""

    def handle(self) -> None:
        """Tell, and close when the client does."""
        self.request.sendall(peer(self.request, self.client_address[0]))
        self.request.recv(1)


class Request(BaseHTTPRequestHandler):
    """One connection of requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Tell."""
        body = peer(self.connection, self.client_address[0])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class LineServer(ThreadingTCPServer):
    """Listens for both families."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


class HttpServer(ThreadingHTTPServer):
    """Likewise."""

    address_family = socket.AF_INET6
    request_queue_size = 256


def main() -> None:
    """Serve for ever."""
    kind, port = sys.argv[1], int(sys.argv[2])
    server = HttpServer(("::", port), Request) if kind == "http" else LineServer(("::", port), Line)
    server.serve_forever()


if __name__ == "__main__":
    main()
