"""A link that dies after so many bytes on the way up, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class CuttingProxy:
    """Stands at `url` before the server; `cuts` counts the dead links."""

    def __init__(self, target: str, every: int) -> None:
        self.target = urlsplit(target)
        self.every = every
        self.cuts = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up = await asyncio.open_connection(self.target.hostname, self.target.port)
        down = asyncio.create_task(_pour(up_reader, writer))
        left = self.every
        try:
            with suppress(OSError):
                while left and (data := await reader.read(min(left, 65536))):
                    left -= len(data)
                    up.write(data)
                    await up.drain()
            self.cuts += not left
        finally:
            down.cancel()
            await asyncio.gather(down, return_exceptions=True)
            writer.transport.abort()
            await _closed(up)
            await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def cutting(target: str, every: int) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(target, every)
    server = await asyncio.start_server(proxy.link, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
