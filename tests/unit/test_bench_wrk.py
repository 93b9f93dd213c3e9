from __future__ import annotations

import pytest

from tests.bench.wrk import LoadError, parse

REPORT = """\
Running 2s test @ http://10.96.2.10:80/1024
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   597.44us  310.11us   9.07ms   92.74%
    Req/Sec    27.44k     2.10k   30.52k    76.19%
  Latency Distribution
     50%  551.00us
     75%  673.00us
     90%    0.85ms
     99%    1.52s
  57330 requests in 2.10s, 58.82MB read
{extra}Requests/sec:  27300.62
Transfer/sec:     28.01MB
"""


def test_report_is_read_with_its_units() -> None:
    report = parse(REPORT.format(extra=""))
    assert report.requests == 57330
    assert report.requests_per_second == 27300.62
    assert report.p50_ms == pytest.approx(0.551)
    assert report.p99_ms == pytest.approx(1520.0)


@pytest.mark.parametrize(
    "line",
    [
        "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
        "  Non-2xx or 3xx responses: 12\n",
    ],
)
def test_a_run_with_failed_requests_is_no_result(line: str) -> None:
    with pytest.raises(LoadError, match=line.strip()):
        parse(REPORT.format(extra=line))


def test_a_run_without_a_result_says_what_was_printed_instead() -> None:
    with pytest.raises(LoadError, match="Connection refused"):
        parse("unable to connect to 10.96.2.10:80 Connection refused\n")
