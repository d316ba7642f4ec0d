"""A streaming standby of the tests' cluster, made by pg_basebackup with the same binaries."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from api import cluster
from tests.lineage.lineage_world import until


@dataclass
class Standby:
    """A server that follows the one at `host`, whatever its databases."""

    folder: Path
    host: str

    def url(self, primary_url: str) -> str:
        """The standby's copy of the database of `primary_url`."""
        return primary_url.replace(f"host={self.host}", f"host={self.folder}")

    def start(self) -> None:
        settings = {"unix_socket_directories": self.folder, "listen_addresses": "", "max_connections": 200, "fsync": "off"}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        _run("pg_ctl", "start", "-w", "-t", "30", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        _run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.folder / "data"), check=False)

    def promote(self) -> None:
        _run("pg_ctl", "promote", "-w", "-D", str(self.folder / "data"))


def make(url: str) -> Standby:
    """A running standby of the server of `url`; `remove` ends it."""
    folder = Path(tempfile.mkdtemp(prefix="zhijian-standby-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    made = Standby(folder, parse_qs(urlsplit(url).query)["host"][0])
    address = cluster.database_url(url, "postgres")
    _run("pg_basebackup", "-d", address, "-D", str(folder / "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync")
    made.start()
    return made


def remove(made: Standby) -> None:
    made.stop()
    shutil.rmtree(made.folder, ignore_errors=True)


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def caught_up(url: str, made: Standby) -> None:
    """Returns when the standby has replayed all that the primary has now."""
    primary = await asyncpg.connect(url)
    target = await primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
    await primary.close()
    connection = await asyncpg.connect(cluster.database_url(made.url(url), "postgres"))

    async def there() -> bool:
        return bool(await connection.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", target))

    await until(there)
    await connection.close()


def _run(program: str, *arguments: str, check: bool = True) -> None:
    command = [str(cluster.binaries() / program), *arguments]
    as_user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, cwd="/", stdout=output, stderr=output, check=False, **as_user)  # type: ignore[call-overload]
        output.seek(0)
        if check:
            assert done.returncode == 0, output.read()
