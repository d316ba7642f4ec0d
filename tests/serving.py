"""An app on a port of its own inside the test's loop: as uvicorn serves it, without uvicorn's waits of a tenth of a second."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import create_server

import httpx
import uvicorn
from starlette.applications import Starlette

from api.server import config

TICK = 0.005


class PromptServer(uvicorn.Server):
    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            await _until_exit(self)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(self.config.timeout_graceful_shutdown):
            while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(TICK)
        await self.lifespan.shutdown()


async def _until_exit(server: uvicorn.Server) -> None:
    """At most as long as uvicorn waits between its ticks."""
    for _ in range(20):
        if server.should_exit:
            return
        await asyncio.sleep(TICK)


@asynccontextmanager
async def listening(app: Starlette, port: int = 0) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    """The server's address, and the server for those who end it early."""
    server = PromptServer(config(app, app.state.settings))
    with create_server(("127.0.0.1", port)) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer waits 40 ms for the client's acknowledgement
        task = asyncio.create_task(server._serve([opened]))
        while not server.started:
            await asyncio.sleep(TICK)
            assert not task.done(), task
        try:
            yield f"http://127.0.0.1:{opened.getsockname()[1]}", server
        finally:
            server.should_exit = True
            await task


def client(address: str, seconds: float = 20) -> httpx.AsyncClient:
    """Without the certificates that it would load to speak to others."""
    return httpx.AsyncClient(base_url=address, timeout=seconds, verify=False)
