"""Processors that do not halt while something is measured.

Waking a halted processor takes tens of microseconds on a virtual machine, for every variant alike.
With one request under way at a time that is most of what there is to measure, and it says nothing
about the ways compared.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LATENCY = Path("/dev/cpu_dma_latency")


@contextmanager
def processors_awake() -> Iterator[None]:
    """Ask for a wake-up latency of 0 microseconds; idle processors poll for as long.

    The kernel takes the request back when the file is closed, also by the end of the process
    (Linux, Documentation/power/pm_qos_interface.rst).

    Raises:
        OSError: the kernel offers no such request.
    """
    with _LATENCY.open("wb", buffering=0) as request:
        request.write(struct.pack("=i", 0))
        yield
