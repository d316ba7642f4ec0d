"""A streaming standby of the cluster, made by pg_basebackup with the same binaries, that can be paused and killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from api import cluster

AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass
class Standby:
    """A server that follows the one at `host`, whatever its databases."""

    folder: Path
    host: str
    running: bool = True

    def url(self, primary_url: str) -> str:
        """The standby's copy of the database of `primary_url`."""
        return primary_url.replace(f"host={self.host}", f"host={self.folder}")

    def start(self) -> None:
        settings = {"unix_socket_directories": self.folder, "listen_addresses": "", "max_connections": 200, "fsync": "off"}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        _run("pg_ctl", "start", "-w", "-t", "30", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options)
        self.running = True

    def stop(self, mode: str = "immediate") -> None:
        _run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.folder / "data"), check=False)
        self.running = False

    def promote(self) -> None:
        _run("pg_ctl", "promote", "-w", "-D", str(self.folder / "data"))

    async def replay(self, primary_url: str, *, paused: bool) -> None:
        """Stop following, or go on; nothing where the standby is away."""
        with suppress(*AWAY):
            connection = await asyncpg.connect(cluster.database_url(self.url(primary_url), "postgres"), timeout=5)
            try:
                await connection.execute(f"SELECT pg_wal_replay_{'pause' if paused else 'resume'}()", timeout=5)
            finally:
                await connection.close()

    async def mend(self, primary_url: str) -> None:
        """Running and following."""
        if not self.running:
            await asyncio.to_thread(self.start)
        await self.replay(primary_url, paused=False)


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


def _run(program: str, *arguments: str, check: bool = True) -> None:
    command = [str(cluster.binaries() / program), *arguments]
    as_user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(command, cwd="/", stdout=output, stderr=output, check=False, start_new_session=True, **as_user)  # type: ignore[call-overload]  # noqa: S603
        output.seek(0)
        if check and done.returncode:
            raise cluster.ClusterError(f"{program} failed: {output.read()[-600:]}")
