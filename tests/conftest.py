"""Options of the whole suite."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# A shell has its background jobs ignore Ctrl-C, and what they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine, not of the code.
settings.register_profile("culvert", deadline=None)
settings.load_profile("culvert")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept",
        action="store_true",
        help="write what the golden cases compile to as their expected output; review the diff",
    )
