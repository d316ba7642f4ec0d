"""The real app on a port, three people with devices, and a client that speaks tus by hand."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette

from api import cluster
from api.accounts import create_user
from api.app import build
from api.parts import files
from api.settings import Settings, engine_url
from schema.actor import Actor, Role
from schema.areas import area
from schema.base import Document
from schema.registry import load
from sync.files import Files
from sync.identity import uuid7
from sync.moment import Moment
from sync.rows import Row, Sent
from sync.write import apply
from tests.serving import client, listening

PASSWORD = "right horse"
HERE, THERE = "220102", "220103"
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK = {**TUS, "Content-Type": "application/offset+octet-stream"}
LOGIN = 'mutation($u: String!, $d: ID!) { login(username: $u, password: "right horse", device: {id: $d}) { accessToken } }'
PEOPLE = (("officer", HERE), ("colleague", HERE), ("stranger", THERE), ("chief", HERE))
_numbers = itertools.count()


@dataclass
class World:
    app: Starlette
    client: httpx.AsyncClient
    url: str
    settings: Settings
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def files(self) -> Files:
        found: Files = self.app.state.files
        return found

    async def token(self, username: str = "officer", device: str = "") -> str:
        device = device or f"device-{username}"
        if (username, device) not in self.tokens:
            answer = (await self.client.post("/graphql", json={"query": LOGIN, "variables": {"u": username, "d": device}})).json()
            self.tokens[username, device] = answer["data"]["login"]["accessToken"]
        return self.tokens[username, device]

    async def actor(self, username: str = "officer", device: str = "") -> Actor:
        found: Actor = (await self.app.state.accounts.authenticate(await self.token(username, device), datetime.now(UTC))).actor
        return found

    async def headers(self, username: str = "officer", device: str = "") -> dict[str, str]:
        return {"Authorization": f"Bearer {await self.token(username, device)}"}

    async def create(self, content: bytes, *, sha256: str = "", media_type: str = "application/octet-stream", **who: str) -> str:
        """The path of a new upload."""
        metadata = described(sha256 or sha256_of(content), media_type)
        headers = {**TUS, **await self.headers(**who), "Upload-Length": str(len(content)), "Upload-Metadata": metadata}
        answer = await self.client.post("/files", headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    async def patch(
        self, path: str, offset: int, content: bytes | AsyncIterator[bytes], *, checksum: str = "", **who: str
    ) -> httpx.Response:
        headers = {**CHUNK, **await self.headers(**who), "Upload-Offset": str(offset)}
        if checksum:
            headers["Upload-Checksum"] = checksum
        return await self.client.patch(path, headers=headers, content=content)

    async def head(self, path: str, **who: str) -> httpx.Response:
        return await self.client.head(path, headers={**TUS, **await self.headers(**who)})

    async def offset(self, path: str, **who: str) -> int:
        return int((await self.head(path, **who)).headers["Upload-Offset"])

    async def send(self, content: bytes, media_type: str = "application/octet-stream", **who: str) -> str:
        """A whole file in one request; its hash."""
        path = await self.create(content, media_type=media_type, **who)
        answer = await self.patch(path, 0, content, **who)
        assert answer.status_code == 204, answer.text
        return sha256_of(content)

    async def get(self, path: str, username: str = "officer", **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={**await self.headers(username), **headers})

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        async with self.app.state.database.engine.connect() as connection:
            return list((await connection.execute(text(statement), values)).mappings())

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.app.state.database.engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def write(self, record: str, *sent: Sent, username: str = "officer") -> list[Row]:
        actor, registry = await self.actor(username), load()
        async with self.app.state.database.engine.begin() as connection:
            return await apply(connection, actor, registry[record], sent, moment=Moment(datetime.now(UTC)), registry=registry)

    async def enterprise(self) -> str:
        row = {"id": uuid7(datetime.now(UTC)), "name": "甲", "area_code": HERE}
        (written,) = await self.write("enterprise", Sent(None, row))
        assert not written.problems, written.problems
        return written.id

    async def inspection(self, *items: Document, **values: Any) -> Document:
        """As a terminal pushes it."""
        row = {
            "id": uuid7(datetime.now(UTC)),
            "enterprise_id": await self.enterprise(),
            "kind": "ROUTINE",
            "state": "SIGNED",
            "inspected_at": "2026-11-20T01:02:03+00:00",
            "officers": ["officer", "colleague"],
            "evidence": list(items),
            **values,
        }
        (written,) = await self.write("inspection", Sent(None, row))
        assert not written.problems, written.problems
        assert written.after
        return written.after

    async def master(self, record: str, row_id: str) -> Document:
        (row,) = await self.rows(f"SELECT row_to_json(t) AS document FROM {record} t WHERE id = CAST(:id AS uuid)", id=row_id)
        found: Document = row["document"]
        return found

    async def state(self, sha256: str) -> str:
        """ "" when nobody has heard of the file."""
        found = await self.rows("SELECT state FROM evidence WHERE sha256 = :sha256", sha256=sha256)
        return str(found[0]["state"]) if found else ""

    async def stored(self) -> set[str]:
        """Keys of everything in the store."""
        return {found["path"] for found in await self.files.vault.store.list().collect_async()}


def item(sha256: str, **values: Any) -> Document:
    return {"id": f"item-{next(_numbers)}", "sha256": sha256, "media_type": "image/jpeg", **values}


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def described(sha256: str, media_type: str) -> str:
    return ", ".join(
        f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in (("sha256", sha256), ("media_type", media_type))
    )


def checksum_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


def noise(size: int, seed: object = None) -> bytes:
    """New bytes at each call without a seed."""
    return random.Random(f"{seed}" if seed is not None else f"new {next(_numbers)}").randbytes(size)


def photo(lon: float | None = None, lat: float | None = None, size: tuple[int, int] = (800, 600), **exif_values: Any) -> bytes:
    """A JPEG of its own, taken at lon, lat (WGS 84)."""
    image = Image.frombytes("RGB", (40, 30), noise(3600)).resize(size)
    exif = Image.Exif()
    exif[0x0132] = "2026:11:20 09:00:00"
    if lon is not None and lat is not None:
        gps = {1: "N" if lat >= 0 else "S", 2: _sexagesimal(abs(lat)), 3: "E" if lon >= 0 else "W", 4: _sexagesimal(abs(lon))}
        exif._ifds[0x8825] = gps
        exif[0x8825] = gps
    for tag, value in exif_values.items():
        exif[int(tag[1:], 16)] = value
    target = io.BytesIO()
    image.save(target, "JPEG", exif=exif)
    return target.getvalue()


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    minutes = degrees % 1 * 60
    return float(int(degrees)), float(int(minutes)), round(minutes % 1 * 60, 4)


async def prepare(url: str) -> None:
    engine = create_async_engine(engine_url(url))
    row = area.insert().values(full_name="", level="county", tree="division", valid_from=date(1980, 1, 1), layers=[], source="test")
    async with engine.begin() as connection:
        await connection.execute(row, [{"code": code, "name": code, "chain": [code, "220000"]} for code in (HERE, THERE)])
        for username, where in PEOPLE:
            await create_user(connection, username, PASSWORD, Role.SUPERVISOR if username == "chief" else Role.INSPECTOR, [where])
    await engine.dispose()


@asynccontextmanager
async def database(cluster_url: str, template: str) -> AsyncIterator[str]:
    """One of the test's own, for those who serve from another folder."""
    name = f"test_{os.getpid()}_files_{next(_numbers)}"
    url = await cluster.create_database(cluster_url, name, template)
    await prepare(url)
    yield url
    await cluster.drop_database(cluster_url, name)


@asynccontextmanager
async def serving(settings: Settings, *, parts: Any = (files,)) -> AsyncIterator[World]:
    app = build(settings, parts=parts)
    async with listening(app) as (address, _), client(address, 30) as http:
        yield World(app, http, address, settings)


def settings_of(url: str, data: Path, **choices: Any) -> Settings:
    return replace(Settings(database_url=url, data=data), **choices)


def code(answer: httpx.Response) -> str:
    errors: list[Mapping[str, Any]] = answer.json()["errors"]
    return str(errors[0]["extensions"]["code"])
