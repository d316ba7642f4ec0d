"""`python -m api backup FILE` and `restore FILE`: the database, the signing keys and the evidence files in one file.

The file is an uncompressed zip: `manifest.json` (what the database held), `database.dump` (pg_dump's custom format, compressed by it),
`keys/`, `files.txt` (hash and size of each evidence file) and, when they lie in a local folder, the files themselves under `evidence/`.
Both verbs restore into a database of its own first and count there; `restore` then gives it the name of the one that it replaces,
which stays beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg
import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from api import backup_files, cluster, migrate
from api.backup_files import Kept, Quiet
from api.carried import carry_over, still
from api.settings import Settings
from sync.feed import drain, read_head
from sync.lineage import renew
from sync.vault import Vault, open_vault

MANIFEST, DUMP, KEYS = "manifest.json", "database.dump", "keys/"
CHUNK = 1 << 18
_DUMP = ("--format=custom", "--no-owner", "--no-privileges", "--no-password")
_RESTORE = ("--exit-on-error", "--no-owner", "--no-privileges", "--no-password")
_TABLES = """SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'public' AND c.relkind = 'r'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e') ORDER BY 1"""
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"


class BackupError(Exception):
    """Nothing was changed; the message is a sentence a person can act on."""


@dataclass(frozen=True)
class Facts:
    """What a database holds, to compare a copy with."""

    schema: tuple[str, ...]  # newest migrations
    epoch: str
    pos: int
    counts: dict[str, int]  # rows by table

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def backup_main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m api backup", description="Write database, keys and evidence files into one file, and check it."
    )
    parser.add_argument("file", type=Path)
    file = parser.parse_args(arguments).file
    return _run(settings, lambda url, console: backup(url, file, settings.data / "keys", console, _vault(settings)))


def restore_main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m api restore", description="Put the state of a backup in the place of the database, which is kept under another name."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--allow-missing-files", action="store_true", help="restore although evidence files are gone; terminals are asked for them again"
    )
    given = parser.parse_args(arguments)
    allowed = given.allow_missing_files
    return _run(
        settings,
        lambda url, console: restore(url, given.file, settings.data / "keys", console, _vault(settings), allow_missing=allowed),
    )


def _vault(settings: Settings) -> Vault:
    return open_vault(settings.evidence_url, settings.data / "evidence")


def _run(settings: Settings, work: Callable[[str, Console], Awaitable[object]]) -> int:
    console = Console(soft_wrap=True)
    try:
        with cluster.running(settings) as url:
            asyncio.run(_awaited(work(url, console)))
    except (BackupError, cluster.ClusterError, OSError, asyncpg.PostgresError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _awaited(work: Awaitable[object]) -> None:
    await work


async def backup(url: str, file: Path, keys: Path, console: Console, vault: Vault | None = None) -> Facts:
    """Write `file` and prove it by restoring it into a scratch database; `file` appears when it is proved. Raises BackupError.

    The files of a local `vault` are in it, of a bucket their hashes; without one neither.
    """
    draft = file.with_name(f"{file.name}.part")
    try:
        with _progress(console) as progress:
            async with Quiet(url):
                facts, lost = await _pack(url, draft, keys, vault, progress)
            async with _scratch(url, "backup_check") as scratch:
                await _fill(scratch, draft, progress)
                _compare(facts, await _look(scratch))
        draft.rename(file)
    finally:
        draft.unlink(missing_ok=True)
    console.print(f"{file}: {facts.rows:,} rows of {len(facts.counts)} tables up to position {facts.pos:,}, restored and counted")
    if vault is not None and vault.folder is None:
        console.print("Evidence files lie in the bucket and are not in this backup: only their hashes are. Back up the bucket, too.")
    if lost:
        console.print(
            f"{len(lost)} evidence files are missing or damaged in the store and not in this backup: {_some(lost)}", style="bold red"
        )
    return facts


async def restore(url: str, file: Path, keys: Path, console: Console, vault: Vault | None = None, *, allow_missing: bool = False) -> str:
    """Put the state of `file` in the place of the database of `url`; the name under which the old one is kept, "" if it was empty.

    Until the last moment nothing changes but that files come back into the `vault`, so it may be interrupted. Everybody signs in again;
    what the old database had locked stays locked, numbers that it gave out are not given out again; the epoch ends, so terminals
    replay. Raises BackupError.
    """
    facts = _manifest(file)
    unknown = set(facts.schema) - set(migrate.revisions())
    if unknown:
        raise BackupError(f"{file} is from a newer version of this program (migration {', '.join(sorted(unknown))}); nothing was changed.")
    async with _scratch(url, "restoring") as fresh, Quiet(url):
        with _progress(console) as progress:
            await _fill(fresh, file, progress)
            _compare(facts, await _look(fresh))
            await migrate.upgrade(fresh)
            lost = await _files_back(fresh, file, vault, progress, allow_missing=allow_missing)
        async with still(url):
            await _begin_again(fresh, url, lost)
            aside = await _swap(url, fresh)
    _restore_keys(file, keys)
    kept = f"the old database is kept as {aside}" if aside else "there was none before"
    console.print(f"restored {facts.rows:,} rows from {file}; {kept}")
    if lost:
        console.print(f"{len(lost)} evidence files are gone and will be asked for again: {_some(lost)}", style="bold red")
    return aside


async def _files_back(fresh: str, file: Path, vault: Vault | None, progress: Progress, *, allow_missing: bool) -> list[str]:
    """Hashes of the files that are lost. Raises BackupError if there are any and that isn't allowed."""
    if vault is None:
        return []
    files = await _verified(fresh)
    with zipfile.ZipFile(file) as packed:
        lost = await backup_files.put_back(packed, vault, files, progress)
    if lost and not allow_missing:
        raise BackupError(
            f"{len(lost)} of {len(files)} evidence files are neither in {file} nor in the store: {_some(lost)}."
            " The database was not changed."
            " Bring the store back, or restore with --allow-missing-files: terminals are then asked for these files again."
        )
    return lost


async def _verified(url: str) -> list[Kept]:
    connection = await asyncpg.connect(url)
    try:
        return await backup_files.verified(connection)
    finally:
        await connection.close()


def _some(hashes: Sequence[str]) -> str:
    return ", ".join(hashes[:3]) + (", …" if len(hashes) > 3 else "")


async def _pack(url: str, draft: Path, keys: Path, vault: Vault | None, progress: Progress) -> tuple[Facts, list[str]]:
    """What the database held, and the files that the store has lost. The snapshot ends with the dump: files take long, and don't change."""
    with _packing(draft) as packed:
        facts, files = await _dump(url, packed, keys, progress)
        return facts, await backup_files.pack(packed, vault, files, progress) if vault else []


async def _dump(url: str, packed: zipfile.ZipFile, keys: Path, progress: Progress) -> tuple[Facts, list[Kept]]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            facts, files = await _facts(connection), await backup_files.verified(connection)
            packed.writestr(MANIFEST, orjson.dumps({**asdict(facts), "at": datetime.now(UTC)}))
            _pack_keys(packed, keys)
            with packed.open(DUMP, "w", force_zip64=True) as target:
                await _pump_out(url, snapshot, target, progress)
    finally:
        await connection.close()
    return facts, files


@contextmanager
def _packing(draft: Path) -> Iterator[zipfile.ZipFile]:
    """A new archive, readable by the owner alone and on the disk in the end."""
    draft.unlink(missing_ok=True)
    with _private(draft) as stream:
        with zipfile.ZipFile(stream, "w") as packed:
            yield packed
        stream.flush()
        os.fsync(stream.fileno())


def _pack_keys(packed: zipfile.ZipFile, keys: Path) -> None:
    for key in sorted(keys.glob("*.pem")):
        packed.write(key, f"{KEYS}{key.name}")


async def _pump_out(url: str, snapshot: str, target: Any, progress: Progress) -> None:
    bar = progress.add_task("dump", total=None)
    async with _program("pg_dump", url, *_DUMP, f"--snapshot={snapshot}") as process:
        while chunk := await process.stdout.read(CHUNK):
            target.write(chunk)
            progress.advance(bar, len(chunk))


async def _fill(url: str, file: Path, progress: Progress) -> None:
    """The dump in `file` into the empty database of `url`."""
    with zipfile.ZipFile(file) as packed, packed.open(DUMP) as source:
        bar = progress.add_task("restore", total=packed.getinfo(DUMP).file_size)
        async with _program("pg_restore", url, *_RESTORE) as process:
            for chunk in _chunks(source):
                process.stdin.write(chunk)
                await process.stdin.drain()
                progress.advance(bar, len(chunk))
            process.stdin.close()


def _chunks(source: Any) -> Iterator[bytes]:
    """Raises BackupError where the bytes are not those that were written."""
    try:
        while chunk := source.read(CHUNK):
            yield chunk
    except (zipfile.BadZipFile, EOFError) as error:
        raise BackupError(f"The backup is damaged: {error}") from None


@asynccontextmanager
async def _program(name: str, url: str, *options: str) -> AsyncIterator[Any]:
    """One of PostgreSQL's programs on the database of `url`; raises BackupError with its words if it fails."""
    address, password = _without_password(url)
    process = await asyncio.create_subprocess_exec(
        cluster.binaries() / name,
        *options,
        f"--dbname={address}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PGPASSWORD": password},
        start_new_session=True,  # Ctrl-C is ours to turn into an orderly end
    )
    assert process.stderr is not None
    words = asyncio.create_task(process.stderr.read())
    try:
        with _tolerating_a_closed_pipe():
            yield process
        if await process.wait():
            raise BackupError(f"{name} failed: {(await words).decode(errors='replace').strip()[-600:]}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await words


@contextmanager
def _tolerating_a_closed_pipe() -> Iterator[None]:
    """A program that ended early says why on its error output, which is worth more than the broken pipe."""
    try:
        yield
    except ConnectionError:
        return


def _without_password(url: str) -> tuple[str, str]:
    """The address without its password, which the list of processes would show, and the password."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    return urlunsplit(parts._replace(netloc=f"{name}{at}{place}")), unquote(password)


async def _look(url: str) -> Facts:
    connection = await asyncpg.connect(url)
    try:
        return await _facts(connection)
    finally:
        await connection.close()


async def _facts(connection: Any) -> Facts:
    tables = [row[0] for row in await connection.fetch(_TABLES)]
    if "alembic_version" not in tables or "sync_head" not in tables:
        raise BackupError("This database is not one of this project: run `python -m api migrate` first.")
    counts = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM \"{table}\"" for table in tables)
    schema = [row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version ORDER BY 1")]
    head = await connection.fetchrow("SELECT epoch, pos FROM sync_head")
    epoch, pos = head or ("", 0)
    return Facts(tuple(schema), epoch, pos, {row[0]: row[1] for row in await connection.fetch(counts)})


def _compare(expected: Facts, found: Facts) -> None:
    if found != expected:
        names = sorted(name for name in expected.counts.keys() | found.counts.keys() if expected.counts.get(name) != found.counts.get(name))
        raise BackupError(f"The backup does not hold what the database held ({', '.join(names) or 'schema or position differ'}).")


def _manifest(file: Path) -> Facts:
    try:
        with zipfile.ZipFile(file) as packed:
            told = orjson.loads(packed.read(MANIFEST))
            packed.getinfo(DUMP)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise BackupError(f"{file} is no backup of this project, or it is damaged: {error}") from None
    return Facts(tuple(told["schema"]), told["epoch"], told["pos"], told["counts"])


@asynccontextmanager
async def _scratch(url: str, purpose: str) -> AsyncIterator[str]:
    """An empty database beside the one of `url`, gone at the end unless it got another name."""
    name = f"{_name(url)}_{purpose}_{secrets.token_hex(4)}"
    try:
        yield await cluster.create_database(url, name, "template0")
    finally:
        await cluster.drop_database(cluster.database_url(url, "postgres"), name)


async def _begin_again(fresh: str, old: str, lost: Sequence[str]) -> None:
    """Another epoch; sessions end, because tokens that were used up since the backup would work again; see `api.carried`."""
    connection = await asyncpg.connect(fresh)
    try:
        async with connection.transaction():
            before = await read_head(connection)
            await renew(connection)
            await drain(connection)
            await backup_files.forget(connection, lost)
            await connection.execute("UPDATE auth_family SET revoked_at = now(), revoked_for = 'RESTORE' WHERE revoked_at IS NULL")
            await carry_over(old, connection, before)
    finally:
        await connection.close()


async def _swap(url: str, fresh: str) -> str:
    """The database of `fresh` under the name of `url`'s; the name under which the old one is kept, "" if it was empty and went."""
    name, new = _name(url), _name(fresh)
    aside = f"{name}_before_{datetime.now(UTC):%Y%m%d%H%M%S}"
    empty = await _is_empty(url)
    connection = await asyncpg.connect(cluster.database_url(url, "postgres"))
    try:
        await connection.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        try:
            await _end_sessions(connection, name, new)
            async with connection.transaction():
                await connection.execute(f'ALTER DATABASE "{name}" RENAME TO "{aside}"')
                await connection.execute(f'ALTER DATABASE "{new}" RENAME TO "{name}"')
        finally:
            kept = await connection.fetchval("SELECT datname FROM pg_database WHERE datname = $1", aside) or name
            await connection.execute(f'ALTER DATABASE "{kept}" WITH ALLOW_CONNECTIONS true')
        if empty:
            await connection.execute(f'DROP DATABASE "{aside}" WITH (FORCE)')
    finally:
        await connection.close()
    return "" if empty else aside


async def _end_sessions(connection: Any, *names: str) -> None:
    for name in names:
        await connection.execute(_TERMINATE, name)
    for _ in range(100):
        if not await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = ANY($1)", list(names)):
            return
        await asyncio.sleep(0.05)
    raise BackupError("Somebody does not let go of the database: stop the servers and try again; nothing was changed.")


async def _is_empty(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("SELECT to_regclass('alembic_version') IS NULL"))
    finally:
        await connection.close()


def _name(url: str) -> str:
    return unquote(urlsplit(url).path.lstrip("/"))


def _restore_keys(file: Path, folder: Path) -> None:
    """Adds the backup's keys to those that are here, so that checkpoints that were given out remain valid."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with zipfile.ZipFile(file) as packed:
        for member in packed.namelist():
            target = folder / Path(member).name
            if member.startswith(KEYS) and member.endswith(".pem") and not target.exists():
                with _private(target) as stream:
                    stream.write(packed.read(member))


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description:>8}"), BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=console)
