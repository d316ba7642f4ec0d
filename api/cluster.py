"""The private PostgreSQL cluster: made, started and stopped by us, so that nobody configures a server to try the project.

It listens on a Unix socket alone and asks for a random password kept beside it. PostgreSQL refuses to run as root, so root
runs it as the `postgres` user; where that user can't look into the data folder, the cluster lives in `FALLBACK` and the
data folder points at it. A data folder without its pointer is new: a cluster left there by a deleted one is thrown away.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from api.settings import Settings

FALLBACK = Path("/var/lib/zhijian")
USER = "zhijian"
DATABASE = "zhijian"
LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.5432")  # sun_path of Linux, less the file's name

TUNING = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "2GB",
    "wal_keep_size": "1GB",  # a standby that was away for a while follows again
    "wal_compression": "lz4",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "listen_addresses": "",
    "unix_socket_permissions": "0777",  # the password guards it: server and caller may be different users
}
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "wal_compression": "off"}


class ClusterError(Exception):
    """PostgreSQL is not there or did not start; the message is a sentence a person can act on."""


@dataclass(frozen=True)
class _Home:
    """Where one cluster lives and who runs it."""

    folder: Path
    binaries: Path
    user: str | None  # None: the caller

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def socket_folder(self) -> Path:
        if len(os.fsencode(self.folder)) <= LONGEST_SOCKET_FOLDER:
            return self.folder
        return Path(tempfile.gettempdir()) / f"zhijian-{_digest(self.folder)}"

    def url(self, database: str) -> str:
        password = (self.folder / "password").read_text().strip()
        return f"postgresql://{USER}:{password}@/{database}?host={self.socket_folder}"

    def run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the cluster's user, out of reach of the terminal's Ctrl-C."""
        command = [str(self.binaries / program), *arguments]
        with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would keep it open
            done = _as_user(self.user, command, output.fileno())
            output.seek(0)
            text = output.read()
        if check and done:
            raise ClusterError(f"{program} failed: {text.strip()[-600:]}{self._log_end()}")
        return subprocess.CompletedProcess(command, done, text)

    def _log_end(self) -> str:
        with suppress(OSError):
            return "\n" + self.log.read_text(errors="replace")[-1000:]
        return ""


def main(settings: Settings, arguments: list[str]) -> int:
    """Stop the private cluster, also those that the tests and the fuzzer left behind."""
    argparse.ArgumentParser("python -m api stop", description="Stop the private PostgreSQL of DATA.").parse_args(arguments)
    for folder in (settings.data, settings.data / "test", settings.data / "fuzz"):
        stop(replace(settings, data=folder))
    return 0


def ensure(settings: Settings, *, throwaway: bool = False) -> str:
    """Start the cluster if it isn't running, making it first if there is none, and return the URL of its database.

    With a database URL in the settings that is the answer and nothing is started. `throwaway` gives up safety from power
    cuts for speed. Twice is once. Raises ClusterError.
    """
    if settings.database_url:
        return settings.database_url
    with _locked(settings.data / "cluster.lock"):
        home = _home(settings.data)
        _initialise(home)
        if not _answers(home):
            _start(home, {**TUNING, **(THROWAWAY if throwaway else {})})
        _ensure_database(home)
        return home.url(DATABASE)


def stop(settings: Settings) -> None:
    """Stop the private cluster, ending its connections; nothing to do is fine."""
    if settings.database_url or not (settings.data / "cluster").exists():
        return
    with _locked(settings.data / "cluster.lock"):
        _stop(_home(settings.data))


@contextmanager
def running(settings: Settings, *, throwaway: bool = False) -> Iterator[str]:
    """The URL of a running database; the last of the processes that use it stops the private cluster."""
    settings.data.mkdir(parents=True, exist_ok=True)
    with (settings.data / "cluster.users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield ensure(settings, throwaway=throwaway)
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                stop(settings)


def discard(settings: Settings) -> None:
    """Stop the private cluster and remove all that it holds."""
    stop(settings)
    pointer = settings.data / "cluster"
    if pointer.exists():
        shutil.rmtree(pointer.read_text().strip())
        pointer.unlink()


def database_url(url: str, name: str) -> str:
    """`url` with another database of the same server."""
    return re.sub(r"^(\w[\w+]*://[^/?]*)(/[^?]*)?", lambda found: f"{found[1]}/{name}", url)


async def create_database(url: str, name: str, template: str | None = None) -> str:
    """Make database `name` on the server of `url`, as a copy of `template` if given; the new database's URL."""
    source = f" TEMPLATE {_quoted(template)}" if template else ""
    await _execute(url, f"CREATE DATABASE {_quoted(name)}{source}")
    return database_url(url, name)


async def drop_database(url: str, name: str) -> None:
    """Remove database `name`, ending its connections; none is fine."""
    await _execute(url, f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")


async def database_names(url: str, pattern: str) -> list[str]:
    """Databases of the server whose name is LIKE `pattern`."""
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE $1", pattern)]
    finally:
        await connection.close()


def binaries(version: str | None = None) -> Path:
    """The folder of PostgreSQL's server programs, the newest that has PostGIS, or those of major `version`.

    Raises ClusterError with the command that installs them.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True)
    for path in found:
        major = path.parts[-3]
        if version in (None, major) and Path(f"/usr/share/postgresql/{major}/extension/postgis.control").exists():
            return path.parent
    wanted = f"postgresql-{version}-postgis-3" if version else "postgresql postgresql-postgis"
    raise ClusterError(f"PostgreSQL with PostGIS is not installed: run `apt-get install {wanted}`, or set ZHIJIAN_DATABASE_URL.")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _home(data: Path) -> _Home:
    user = "postgres" if os.geteuid() == 0 else None
    pointer = data / "cluster"
    if pointer.exists():
        folder = Path(pointer.read_text().strip())
    else:
        folder = _choose_folder(data, user)
        _discard(folder, user)
    _make_folder(folder, user)
    pointer.write_text(f"{folder}\n")
    version = folder / "data" / "PG_VERSION"
    return _Home(folder, binaries(version.read_text().strip() if version.exists() else None), user)


def _choose_folder(data: Path, user: str | None) -> Path:
    folder = data / "pg"
    _make_folder(folder, user)
    return folder if _as_user(user, ["test", "-w", str(folder)]) == 0 else FALLBACK / _digest(data)


def _discard(folder: Path, user: str | None) -> None:
    if (folder / "data" / "PG_VERSION").exists():
        _stop(_Home(folder, binaries((folder / "data" / "PG_VERSION").read_text().strip()), user))
    shutil.rmtree(folder, ignore_errors=True)


def _make_folder(folder: Path, user: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _give(folder, user)


def _give(path: Path, user: str | None) -> None:
    if user:
        try:
            account = pwd.getpwnam(user)
        except KeyError:
            raise ClusterError("Root can't run PostgreSQL and there is no user `postgres`: install PostgreSQL from packages.") from None
        os.chown(path, account.pw_uid, account.pw_gid)


def _as_user(user: str | None, command: list[str], output: int = subprocess.DEVNULL) -> int:
    group = pwd.getpwnam(user).pw_gid if user else None
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}  # no PG* of the caller's
    # start_new_session: Ctrl-C in the terminal is ours to turn into a clean stop.
    process = subprocess.Popen(  # noqa: S603 - our own commands
        command,
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        user=user,
        group=group,
        extra_groups=[] if user else None,
    )
    return process.wait()


def _initialise(home: _Home) -> None:
    """Make the cluster; one that was interrupted is made anew."""
    if home.data.exists():
        return
    password, fresh = home.folder / "password", home.folder / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    password.touch(mode=0o600)
    password.write_text(secrets.token_hex(16) + "\n")
    _give(password, home.user)
    # Order of bytes: the same on every machine, and prefix searches can use plain indexes.
    locale = ("--encoding=UTF8", "--lc-collate=C", "--lc-ctype=C.UTF-8", "--lc-messages=C.UTF-8")
    home.run("initdb", f"--pgdata={fresh}", f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync", *locale)
    fresh.rename(home.data)


def _answers(home: _Home) -> bool:
    return home.run("pg_isready", "-q", "-h", str(home.socket_folder), "-t", "3", check=False).returncode == 0


def _start(home: _Home, options: dict[str, str]) -> None:
    _make_folder(home.socket_folder, home.user)
    _forget_dead(home)
    words = {**options, "unix_socket_directories": str(home.socket_folder)}
    line = " ".join(f"-c {name}='{value}'" for name, value in words.items())
    arguments = ("start", "-w", "-t", "60", "-D", str(home.data), "-l", str(home.log), "-o", line)
    for _ in range(20):  # after a kill -9 the old backends take a moment to notice
        if home.run("pg_ctl", *arguments, check=False).returncode == 0:
            return
        time.sleep(0.5)
    home.run("pg_ctl", *arguments)


def _forget_dead(home: _Home) -> None:
    """Remove the lock files of a server that is gone, whoever has its process number now."""
    if _alive(home):
        return
    for path in (home.data / "postmaster.pid", home.socket_folder / ".s.PGSQL.5432", home.socket_folder / ".s.PGSQL.5432.lock"):
        path.unlink(missing_ok=True)


def _alive(home: _Home) -> bool:
    with suppress(OSError, ValueError, IndexError):
        pid = int((home.data / "postmaster.pid").read_text().splitlines()[0])
        return Path(f"/proc/{pid}/cwd").resolve() == home.data.resolve()
    return False


def _stop(home: _Home) -> None:
    if _alive(home):
        home.run("pg_ctl", "stop", "-w", "-t", "60", "-m", "fast", "-D", str(home.data))


def _ensure_database(home: _Home) -> None:
    known = _psql(home, "postgres", f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")
    if not known:
        _psql(home, "postgres", f"CREATE DATABASE {DATABASE}")
    _psql(home, DATABASE, "CREATE EXTENSION IF NOT EXISTS postgis")


def _psql(home: _Home, database: str, statement: str) -> str:
    return home.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", home.url(database), "-c", statement).stdout.strip()
