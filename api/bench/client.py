"""A client that costs little, so that what is measured is the server: HTTP/1.1 over one kept connection."""

from __future__ import annotations

import asyncio
import zlib
from types import TracebackType
from typing import Any, Self

import orjson

BUFFER = 1 << 20


class AnswerError(Exception):
    """The server said no: status and the beginning of its answer."""


class Client:
    """One connection that posts GraphQL; requests one after the other."""

    def __init__(self, port: int, token: str | None = None, host: str = "127.0.0.1", encoding: str = "") -> None:
        self.port = port
        self.host = host
        self.token = token
        self.encoding = encoding  # "gzip", or as it is
        self.received = 0  # bytes of answers, as they came over the wire
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, limit=BUFFER)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    async def ask(self, query: str, **variables: Any) -> Any:
        """The answer's data. Raises AnswerError for a status other than 200 and for errors in the answer."""
        answer = orjson.loads(await self.post(body(query, **variables)))
        if answer.get("errors"):
            raise AnswerError(str(answer["errors"])[:2000])
        return answer["data"]

    async def post(self, content: bytes) -> bytes:
        """The answer to a prepared body, unpacked."""
        bearer = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        bearer += f"Accept-Encoding: {self.encoding}\r\n" if self.encoding else ""
        head = (
            f"POST /graphql HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{bearer}"
            f"Content-Type: application/json\r\nAccept: application/graphql-response+json, application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self.writer.writelines((head.encode(), content))
        return await self._answer()

    async def get(self, path: str) -> bytes:
        """What lies at an address, unpacked; b"" for 204."""
        bearer = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        bearer += f"Accept-Encoding: {self.encoding}\r\n" if self.encoding else ""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{bearer}\r\n".encode())
        return await self._answer()

    async def _answer(self) -> bytes:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        content = await self._content(head)
        self.received += len(head) + len(content)
        if "content-encoding: gzip" in head:
            content = zlib.decompress(content, 31)
        if " 204 " in head.partition("\r\n")[0]:
            return b""
        if " 200 " not in head.partition("\r\n")[0]:
            raise AnswerError(head.partition("\r\n")[0] + " " + content[:2000].decode(errors="replace"))
        return content

    async def _content(self, head: str) -> bytes:
        if "transfer-encoding: chunked" in head:
            return b"".join([chunk async for chunk in self._chunks()])
        length = head.partition("content-length:")[2].partition("\r\n")[0]
        return await self.reader.readexactly(int(length or 0))

    async def _chunks(self) -> Any:
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readuntil(b"\r\n")


def body(query: str, **variables: Any) -> bytes:
    return orjson.dumps({"query": query, "variables": variables})


async def sign_in(port: int, username: str, password: str, device_id: str) -> str:
    """The access token of a new session."""
    query = """mutation ($username: String!, $password: String!, $device: DeviceInput!) {
        login(username: $username, password: $password, device: $device) { accessToken } }"""
    async with Client(port) as client:
        answer = await client.ask(query, username=username, password=password, device={"id": device_id, "name": "bench"})
    return str(answer["login"]["accessToken"])
