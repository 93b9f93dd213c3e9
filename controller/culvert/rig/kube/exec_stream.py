"""One exec request on a WebSocket, from the program's start to its exit code."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import ClientConnectionError, WSMsgType, web

from culvert.rig.container import ContainerRunner, NotRunningError
from culvert.rig.kube.exec_process import ExecProcess
from culvert.rig.kube.remote_command import (
    PROTOCOLS,
    Channel,
    exit_message,
    parse_request,
    parse_size,
)


async def serve_exec(request: web.Request, runner: ContainerRunner) -> web.StreamResponse:
    """Run a program and pass its streams; it does not outlive the connection."""
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0)
    try:
        wanted = parse_request(list(request.query.items()))
        # kubectl tries SPDY after any refusal: it is to see the same reason again.
        runner.require_running()
        if not socket.can_prepare(request):
            return _refusal(400, "BadRequest", "streams are served over WebSocket alone")
        started = await ExecProcess.start(runner, wanted)
    except ValueError as error:
        return _refusal(400, "BadRequest", str(error))
    except NotRunningError as error:
        return _refusal(409, "Conflict", str(error))
    async with started as process:
        await socket.prepare(request)
        taking = asyncio.create_task(_take(socket, process))
        giving = asyncio.create_task(_give(socket, process))
        try:
            await asyncio.wait({taking, giving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (taking, giving):
                task.cancel()
            await asyncio.gather(taking, giving, return_exceptions=True)
    await socket.close()
    return socket


def _refusal(code: int, reason: str, message: str) -> web.Response:
    """A ``Status``, the one form of a refusal whose words kubectl shows."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {}}
    return web.json_response(
        {**status, "code": code, "reason": reason, "message": message}, status=code
    )


async def _take(socket: web.WebSocketResponse, process: ExecProcess) -> None:
    """Pass on what the client sends, until it goes away."""
    async for message in socket:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == Channel.STDIN:
            await process.write(data)
        elif channel == Channel.CLOSE and data == bytes([Channel.STDIN]):
            process.end_input()
        elif channel == Channel.RESIZE and (size := parse_size(data)):
            process.resize(*size)


async def _give(socket: web.WebSocketResponse, process: ExecProcess) -> None:
    """Pass on what the program writes, all of it, and then its exit code."""
    channels = {"stdout": Channel.STDOUT, "stderr": Channel.STDERR}
    with suppress(ClientConnectionError):
        async with asyncio.TaskGroup() as tasks:
            for output in process.outputs:
                tasks.create_task(_copy(socket, channels[output], process, output))
        await socket.send_bytes(exit_message(await process.ended()))


async def _copy(
    socket: web.WebSocketResponse, channel: Channel, process: ExecProcess, output: str
) -> None:
    with suppress(ClientConnectionError):
        while data := await process.read(output):
            await socket.send_bytes(bytes([channel]) + data)
