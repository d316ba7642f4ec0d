"""The peers of topic `tiles`: tipg (PyPI, in an environment of its own under DATA) and MapServer (Debian, as FastCGI processes)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import parse_qsl, quote, urlsplit

from api.bench.client import Client
from api.bench.field import Field
from api.settings import Settings

SCHEMA = "bench_tiles"
MOST = 10_000  # features of a tile: tipg's own cap, and MapServer's here
PROCESSES = 8
START_SECONDS = 30.0
TIPG = ("tipg", "uvicorn", "uvloop", "httptools")


class PeerMissingError(Exception):
    """The peer can't be had here; the message says why."""


class Asking(Protocol):
    """One connection to a server of tiles."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    async def get(self, path: str) -> bytes: ...


Peer = tuple[Callable[[], Asking], str]
"""How to connect, and the address of a tile with {layer}, {z}, {x}, {y}."""


@contextmanager
def tipg(field: Field) -> Iterator[Peer]:
    """A running tipg. Raises PeerMissingError."""
    place = field.settings.data / "tipg"
    if not (place / "bin" / "uvicorn").exists():
        field.tell("tiles: installing tipg")
        _install(place)
    port = free_port()
    command = (str(place / "bin" / "python"), "-m", "uvicorn", "tipg.main:app", "--port", str(port), "--log-level", "warning")
    variables = {
        "DATABASE_URL": _with_host(field.settings.database_url or ""),
        "TIPG_DB_SCHEMAS": json.dumps([SCHEMA]),
        "TIPG_CATALOG_TTL": "86400",
    }
    with _running((*command, "--no-access-log"), {**os.environ, **variables}, field.settings.data / "tipg.log"):
        _wait_for(port)
        yield lambda: Client(port, encoding="gzip"), f"/collections/{SCHEMA}.{{layer}}/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}"


def _with_host(url: str) -> str:
    """With the folder of the socket as host: pydantic takes none without."""
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query))
    if parts.hostname or "host" not in asked:
        return url
    port = f":{asked['port']}" if "port" in asked else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[0]}@{quote(asked['host'], safe='')}{port}{parts.path}"


@contextmanager
def mapserver(field: Field) -> Iterator[Peer]:
    """Running MapServer processes. Raises PeerMissingError."""
    program = shutil.which("mapserv") or shutil.which("/usr/lib/cgi-bin/mapserv")
    if program is None:
        raise PeerMissingError("apt-get install mapserver-bin cgi-mapserver")
    folder = field.settings.data / "mapserver"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mapserver.conf").write_text(
        f'CONFIG\n  ENV\n    MS_MAP_PATTERN "."\n  END\n  MAPS\n    bench "{folder}/bench.map"\n  END\nEND\n'
    )
    (folder / "bench.map").write_text(_map(field.settings))
    path = folder / "socket"
    path.unlink(missing_ok=True)
    with ExitStack() as stack:
        door = stack.enter_context(socket.socket(socket.AF_UNIX))
        door.bind(str(path))
        door.listen(64)
        variables = {**os.environ, "MAPSERVER_CONFIG_FILE": str(folder / "mapserver.conf")}
        for _ in range(PROCESSES):
            stack.enter_context(_running((program,), variables, folder / "mapserver.log", door))
        address = "map=bench&mode=tile&tilemode=gmap&map.imagetype={layer}&layers={layer}&tile={x}+{y}+{z}"
        yield lambda: FastCgi(str(path)), address


class FastCgi:
    """One kept connection to a FastCGI process, asked by query string: MapServer without a web server that would slow it down."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_unix_connection(self.path, limit=1 << 20)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.writer.close()

    async def get(self, path: str) -> bytes:
        pairs = {"REQUEST_METHOD": "GET", "QUERY_STRING": path, "SCRIPT_NAME": "/", "SERVER_NAME": "bench", "SERVER_PORT": "80"}
        content = b"".join(_pair(name.encode(), value.encode()) for name, value in pairs.items())
        begin = _record(1, struct.pack(">HB5x", 1, 1))  # a responder that keeps the connection
        self.writer.write(begin + _record(4, content) + _record(4, b"") + _record(5, b""))
        head, _, body = (await self._answer()).partition(b"\r\n\r\n")
        if b"vector-tile" not in head:
            raise RuntimeError(f"MapServer: {head[:200]!r} {body[:500]!r}")
        return body

    async def _answer(self) -> bytes:
        found = b""
        while True:
            kind, length, padding = struct.unpack(">xBxxHBx", await self.reader.readexactly(8))
            content = (await self.reader.readexactly(length + padding))[:length]
            if kind == 3:
                return found
            found += content if kind == 6 else b""


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), 0) + content


def _pair(name: bytes, value: bytes) -> bytes:
    lengths = (len(part).to_bytes(1, "big") if len(part) < 128 else (len(part) | 1 << 31).to_bytes(4, "big") for part in (name, value))
    return b"".join(lengths) + name + value


def _map(settings: Settings) -> str:
    layers = "".join(
        _layer(settings, name, kind, columns)
        for name, kind, columns in (("county", "POLYGON", "id, code, name"), ("enterprise", "POINT", "id, name, status, hazard_class"))
    )
    return f"""MAP
  NAME "bench"
  SIZE 256 256
  UNITS METERS
  EXTENT -20037508.34 -20037508.34 20037508.34 20037508.34
  PROJECTION "init=epsg:3857" END
  OUTPUTFORMAT NAME "county" DRIVER "MVT" FORMATOPTION "EXTENT=4096" FORMATOPTION "EDGE_BUFFER=10" END
  OUTPUTFORMAT NAME "enterprise" DRIVER "MVT" FORMATOPTION "EXTENT=4096" FORMATOPTION "EDGE_BUFFER=0" END
  IMAGETYPE "county"
  WEB METADATA "ows_enable_request" "*" END END{layers}
END
"""


def _layer(settings: Settings, name: str, kind: str, columns: str) -> str:
    return f"""
  LAYER
    NAME "{name}" TYPE {kind} STATUS ON MAXFEATURES {MOST}
    CONNECTIONTYPE POSTGIS CONNECTION "{settings.database_url}" PROCESSING "CLOSE_CONNECTION=DEFER"
    DATA "geom FROM (SELECT {columns}, geom FROM {SCHEMA}.{name}) AS t USING UNIQUE id USING SRID=3857"
    PROJECTION "init=epsg:3857" END
    METADATA "gml_include_items" "all" "ows_include_items" "all" END
  END"""


def _install(place: Path) -> None:
    try:
        _quietly(sys.executable, "-m", "venv", str(place))
        _quietly(str(place / "bin" / "python"), "-m", "pip", "install", "-q", *TIPG)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(place, ignore_errors=True)
        raise PeerMissingError(f"tipg can't be installed: {type(error).__name__}") from None


def _quietly(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300, check=True)  # noqa: S603 - our own words


@contextmanager
def _running(command: Sequence[str], variables: dict[str, str], log: Path, door: socket.socket | None = None) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as written:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=door.fileno() if door else subprocess.DEVNULL, stdout=written, stderr=written, env=variables
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise PeerMissingError("tipg does not come up; see tipg.log")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
