"""One request for the log of a container."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import ClientConnectionError, web

from culvert.rig.container import ContainerRunner
from culvert.rig.kube.log_query import parse_log_query, tail_offset
from culvert.rig.pod_status import ContainerPhase

_CHUNK_BYTES = 1 << 16
_POLL_SECONDS = 0.2


async def serve_log(request: web.Request, runner: ContainerRunner) -> web.StreamResponse:
    """Send one run's part of the log; with ``follow`` until that run has ended."""
    try:
        query = parse_log_query(request.query)
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    runs = runner.runs_at
    run = len(runs) - (2 if query.previous else 1)
    if run < 0:
        which = "no run before this one" if runs else f"not started: {runner.status.reason}"
        raise web.HTTPBadRequest(text=f"container {runner.status.name}: {which}")
    at, end = runs[run], _end(runner, run)
    if query.tail_lines is not None:
        at = await asyncio.to_thread(tail_offset, runner.log_file, at, end, query.tail_lines)
    left = query.limit_bytes
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with suppress(ClientConnectionError), runner.log_file.open("rb") as log:
        log.seek(at)
        while left is None or left > 0:
            # Asked before reading: what is written until the end is then read as well.
            runs_still = _runs(runner, run)
            room = _end(runner, run) - log.tell()
            data = log.read(min(_CHUNK_BYTES, room, _CHUNK_BYTES if left is None else left))
            if data:
                left = None if left is None else left - len(data)
                await response.write(data)
            elif not (query.follow and runs_still) or _is_gone(request):
                break
            else:
                await asyncio.sleep(_POLL_SECONDS)
        await response.write_eof()
    return response


def _runs(runner: ContainerRunner, run: int) -> bool:
    is_last = run == len(runner.runs_at) - 1
    return is_last and runner.status.phase is ContainerPhase.RUNNING


def _end(runner: ContainerRunner, run: int) -> int:
    """Where the log of a run ends now, in bytes."""
    if run + 1 < len(runner.runs_at):
        return runner.runs_at[run + 1]
    return runner.log_file.stat().st_size


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
