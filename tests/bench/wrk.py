"""HTTP load by wrk, and what it reports."""

from __future__ import annotations

import re
from dataclasses import dataclass

from culvert.rig import Pod

_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


class LoadError(Exception):
    """The load did not run as it should; a number from it would mislead."""


@dataclass(frozen=True, slots=True)
class WrkReport:
    """Of one run; latencies in milliseconds."""

    requests: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float


def parse(output: str) -> WrkReport:
    """Read what ``wrk --latency`` prints.

    Raises:
        LoadError: it holds no result, or requests failed.
    """
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    requests = re.search(r"(\d+) requests in", output)
    if rate is None or requests is None:
        raise LoadError(f"wrk printed no result: {output.strip()[-300:]}")
    for bad in (r"Non-2xx or 3xx responses: \d+", r"Socket errors: .*"):
        found = re.search(bad, output)
        if found is not None:
            raise LoadError(f"wrk: {found[0]}")
    return WrkReport(
        int(requests[1]), float(rate[1]), _percentile(output, 50), _percentile(output, 99)
    )


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    if found is None:
        raise LoadError(f"wrk printed no {percent}th percentile: {output.strip()[-300:]}")
    return float(found[1]) * _UNITS_MS[found[2]]


def run_wrk(
    pod: Pod, url: str, *, connections: int, seconds: int, headers: tuple[str, ...] = ()
) -> WrkReport:
    """Run wrk with one thread in a pod.

    Raises:
        LoadError: it failed, or requests did.
    """
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for header in headers:
        argv += ["-H", header]
    done = pod.run([*argv, url], timeout_seconds=seconds + 30.0)
    if done.returncode:
        raise LoadError(f"wrk ended with {done.returncode}: {done.stderr.decode().strip()[-300:]}")
    return parse(done.stdout.decode())
