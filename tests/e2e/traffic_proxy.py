"""Traffic settings in a real Envoy: started by ``test_traffic_settings.py`` under ``unshare``.

Endpoints answer as the request's path says (``Endpoint``). Prints one JSON object: probe name ->
what the client saw, ``log`` -> the lines of the access log.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
from culvert.model.settings import Settings
from culvert.model.traffic import TrafficOverrides
from culvert.sources.manifests import ManifestSource

from tests.e2e.compiled_proxy import Greeter, greet, run, running_proxy, serve

PLAIN, TIMED, RETRYING, PER_TRY, UNREPEATED, HALF_DEAD = (f"10.96.1.{n}" for n in range(1, 7))
COOKIE, HEADER, ROBIN, LOGGED, FAILURES_LOGGED, IDLE = (f"10.96.1.{n}" for n in range(7, 13))
OPAQUE_LOGGED, RELABELLED, HALF_BROKEN = (f"10.96.1.{n}" for n in range(13, 16))
OPAQUE_FAILING, OPAQUE_QUIET, GOVERNED = (f"10.96.1.{n}" for n in range(16, 19))

_attempts: Counter[str] = Counter()
_released = threading.Event()


class Endpoint(BaseHTTPRequestHandler):
    """``/fail/N/…`` fails N times, ``/hang/N/…`` hangs N times; then the endpoint's address.

    ``/broken`` fails on 127.0.0.2 only.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        del body
        _attempts[self.path] += 1
        word, _, rest = self.path.removeprefix("/").partition("/")
        count = int(rest.partition("/")[0]) if rest else 0
        mine = self.server.server_address[0]
        if word == "hang" and _attempts[self.path] <= count:
            _released.wait()
        failing = word == "fail" and _attempts[self.path] <= count
        broken = word == "broken" and mine == "127.0.0.2"
        self.send_response(503 if failing or broken else 200)
        answer = str(mine).encode()
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def ask(
    address: str,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    port: int = 80,
) -> dict[str, Any]:
    connection = http.client.HTTPConnection(address, port, timeout=30)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return {
            "status": response.status,
            "endpoint": response.read().decode(),
            "cookie": response.getheader("Set-Cookie", ""),
            "attempts": _attempts[path.partition("?")[0]],
        }
    except (ConnectionError, http.client.HTTPException) as error:
        return {"error": type(error).__name__}
    finally:
        connection.close()


def endpoints(address: str, headers: list[dict[str, str]]) -> list[str]:
    return [ask(address, "/", headers=each)["endpoint"] for each in headers]


def probe_annotations() -> dict[str, Any]:
    cookie = ask(COOKIE, "/")["cookie"].partition(";")[0]
    answers = {
        "request_timeout": ask(TIMED, "/hang/9/request"),
        "no_timeout_elsewhere": ask(PLAIN, "/"),
        "idle_timeout": ask(IDLE, "/hang/9/idle"),
        "retried_get": ask(RETRYING, "/fail/2/get"),
        "retried_post": ask(RETRYING, "/fail/2/post", "POST"),
        "default_get": ask(PLAIN, "/fail/1/default"),
        "per_try": ask(PER_TRY, "/hang/1/try"),
        "unrepeated": ask(UNREPEATED, "/fail/1/unrepeated"),
        "policy_timeout": ask(GOVERNED, "/hang/9/policy"),
        "policy_of_port": ask(GOVERNED, "/fail/2/policy", port=81),
        "half_dead": [ask(HALF_DEAD, "/", "POST")["status"] for _ in range(20)],
        "relabelled": ask(RELABELLED, "/"),
        "cookie_given": cookie,
        "cookie_kept": endpoints(COOKIE, [{"Cookie": cookie}] * 10),
        "header_same": endpoints(HEADER, [{"X-User": "ann"}] * 10),
        "header_spread": endpoints(HEADER, [{"X-User": f"user-{n}"} for n in range(32)]),
        "robin": endpoints(ROBIN, [{}] * 8),
        "logged": ask(LOGGED, "/?token=secret", headers={"Authorization": "secret"}),
        "failures_logged": [
            ask(FAILURES_LOGGED, path)["status"] for path in ("/", "/fail/9/logged")
        ],
        "opaque_logged": greet(OPAQUE_LOGGED, 81),
        "opaque_failing": [greet(address, 81) for address in (OPAQUE_FAILING, OPAQUE_QUIET)],
    }
    _released.set()
    return answers


def probe_limits() -> dict[str, Any]:
    """With the mesh's default of one request at a time, and ejection after two errors."""
    answers: dict[str, Any] = {}
    first = threading.Thread(target=lambda: answers.update(first=ask(PLAIN, "/hang/1/first")))
    first.start()
    while not _attempts["/hang/1/first"]:
        threading.Event().wait(0.01)
    answers["second"] = ask(PLAIN, "/second")
    _released.set()
    first.join()
    answers["ejected"] = [ask(HALF_BROKEN, "/broken")["status"] for _ in range(20)]
    return answers


LIMITS: Mapping[str, Any] = {
    "max_requests": 1,
    "retry_attempts": 0,
    "outlier_detection": {"consecutive_5xx": 2, "base_ejection_seconds": 300},
}


def main() -> None:
    """Run the probes. Arguments: folder for files, manifest, envoy binary, what to probe."""
    folder, manifest, envoy = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    limited = sys.argv[4] == "limits"
    said = msgspec.convert(LIMITS if limited else {}, TrafficOverrides)
    settings = Settings(proxy_addresses=("127.0.0.1", "::1"), traffic=said)
    world = ManifestSource([manifest], settings).read()
    assert not world.findings, world.findings
    run("ip", "link", "set", "lo", "up")
    with running_proxy(folder, world, envoy):
        serve("127.0.0.1", 9001, Endpoint)
        serve("127.0.0.2", 9001, Endpoint)
        serve("127.0.0.1", 9002, Greeter)
        answers = probe_limits() if limited else probe_annotations()
    lines = (folder / "envoy.log").read_text().splitlines()
    answers["log"] = [json.loads(line) for line in lines if line.startswith("{")]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
