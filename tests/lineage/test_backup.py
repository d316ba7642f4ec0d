"""A backup is one proved file; a restore changes the epoch by itself, and terminals go on without losing what they had not sent."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import stat
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from rich.console import Console

from api import cluster, migrate
from api.backup import BackupError, backup, restore
from api.settings import ROOT
from sync.feed import drain, read_head
from sync.lineage import REVISIONS
from sync.numbers import LOST
from tests.lineage.lineage_world import PUSH, code, prepare, serving, until


@pytest.fixture
async def url(database_url: str) -> AsyncIterator[str]:
    """A peopled database; what a restore sets aside beside it goes with it."""
    await prepare(database_url)
    yield database_url
    name = urlsplit(database_url).path[1:]
    elsewhere = cluster.database_url(database_url, "postgres")
    for left in await cluster.database_names(elsewhere, f"{name}_before%"):
        await cluster.drop_database(elsewhere, left)


SAVE = "mutation ($input: EnterpriseInput!) { saveEnterprise(input: $input) { id } }"


def quiet() -> Console:
    return Console(file=io.StringIO())


async def stamped(url: str) -> None:
    connection = await asyncpg.connect(url)
    await drain(connection)
    await connection.close()


async def epoch(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return (await read_head(connection)).epoch
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def databases(url: str) -> list[str]:
    name = urlsplit(url).path[1:].replace("_", r"\_")
    return await cluster.database_names(url, f"{name}%")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_an_older_point_comes_back_and_everything_is_replayed(url: str, tmp_path: Path) -> None:
    """Unsent edits arrive, once; sent ones that the backup holds are not doubled; terminals end with what the server has."""
    file = tmp_path / "one.backup"
    async with serving(url, tmp_path / "data") as world:
        first, second = await world.sign_in("ins"), await world.sign_in("ins", "ins-2")
        await first.push((None, first.new("甲厂", visits=1, remark="old")), (None, first.new("乙厂", visits=10, remark="old")))
        await world.stamped()
        for client in (first, second):
            await client.pull()
        kept, other = sorted(first.held)
        await first.push(first.edited(kept, visits=2))
        await first.pull()
        await backup(url, file, tmp_path / "data" / "keys", quiet())
        await second.pull()
        await second.push(second.edited(kept, remark="lost in the restore"))  # accepted, then lost with the database
        lost = await world.scalar("SELECT max(revision) FROM enterprise")
        await world.stamped()
        for client in (first, second):
            await client.pull()
        unsent_first, unsent_second = first.edited(kept, visits=5), second.edited(other, visits=11, remark="unsent")
        old = await epoch(url)

        await restore(url, file, tmp_path / "data" / "keys", quiet())

        assert await epoch(url) != old
        await world.again()
        world.app.state.accounts.known.clear()
        assert code(await first.ask("{ me { id } }")) == "SESSION_ENDED"
        for client in (first, second):
            await client.sign_in()
        await first.push(unsent_first)
        await second.push(unsent_second)
        await first.push(unsent_first)  # the answer was lost
        await world.stamped()
        for client in (first, second):
            assert sum(await client.pull()) == 2
        assert first.held == second.held
        assert (first.held[kept]["visits"], first.held[kept]["remark"]) == (2 + 3, "old")
        assert (first.held[other]["visits"], first.held[other]["remark"]) == (11, "unsent")
        assert first.held[kept]["revision"] > REVISIONS > lost
        assert await world.scalar("SELECT array_agg(code || ':' || field || ':' || (mine #>> '{}')) FROM sync_conflict") == [
            "lost_in_restore:remark:lost in the restore"
        ]


async def test_a_terminal_behind_the_backup_meets_what_others_wrote_afterwards(url: str, tmp_path: Path) -> None:
    """Revisions of two histories are never taken for one another: the rival edit is seen although its number is as high."""
    file = tmp_path / "one.backup"
    async with serving(url, tmp_path / "data") as world:
        first, second = await world.sign_in("ins"), await world.sign_in("ins", "ins-2")
        await first.push((None, first.new("甲厂", remark="old")))
        await backup(url, file, tmp_path / "data" / "keys", quiet())
        await world.stamped()
        await first.pull()
        (document_id,) = first.held
        for number in range(3):
            await first.push(first.edited(document_id, contactPhone=f"lost {number}"))
        unsent = first.edited(document_id, remark="unsent")
        await restore(url, file, tmp_path / "data" / "keys", quiet())
        await world.again()
        for client in (first, second):
            await client.sign_in()
        await world.stamped()
        await second.pull()
        await second.push(second.edited(document_id, remark="written after the restore"))
        await first.push(unsent)
        assert await world.scalar("SELECT array_agg(code || ':' || (theirs #>> '{}')) FROM sync_conflict") == [
            "overwrote_theirs:written after the restore"
        ]


async def test_who_reports_what_a_restore_took_before_his_answer_has_come_takes_nothing_back(url: str, tmp_path: Path) -> None:
    """A report (an assumed master, and no edit) is no edit of what its device has written meanwhile, and doesn't hide it."""
    file = tmp_path / "one.backup"
    async with serving(url, tmp_path / "data") as world:
        first, second = await world.sign_in("ins"), await world.sign_in("ins", "ins-2")
        await first.push((None, first.new("甲厂", remark="old", visits=1)))
        await backup(url, file, tmp_path / "data" / "keys", quiet())
        await world.stamped()
        await second.pull()
        (document_id,) = second.held
        await second.push(second.edited(document_id, remark="lost", visits=5))
        await world.stamped()
        await first.pull()
        await restore(url, file, tmp_path / "data" / "keys", quiet())
        await world.again()
        await first.sign_in()
        held, edit = first.edited(document_id, remark="unsent", visits=7)
        for new, visits in ((edit, 1 + 2), (held, 1 + 2), ({**edit, "visits": 10, "stamp": first.stamp()}, 1 + 2 + 3)):  # no answer comes
            await first.data(PUSH, rows=[{"assumedMasterState": held, "newDocumentState": new}])
            assert await world.fetch("SELECT remark, visits FROM enterprise") == [{"remark": "unsent", "visits": visits}]


async def test_what_had_moved_here_after_the_backup_leaves_again_and_what_was_made_here_stays(url: str, tmp_path: Path) -> None:
    file, keys = tmp_path / "one.backup", tmp_path / "data" / "keys"
    async with serving(url, tmp_path / "data") as world:
        first, other, boss = await world.sign_in("ins"), await world.sign_in("other"), await world.sign_in("boss")
        await other.push((None, other.new("甲厂", "220103")))
        (moved,) = other.held
        await backup(url, file, keys, quiet())
        await boss.data(SAVE, input={"id": moved, "areaCode": "220102"})
        await first.push((None, first.new("乙厂")))
        await world.stamped()
        await first.pull()
        assert len(first.held) == 2
        await restore(url, file, keys, quiet())
        await world.again()
        await first.sign_in()
        await world.stamped()
        await first.pull()
        assert [document["name"] for document in first.held.values()] == ["乙厂"]


async def test_what_was_locked_after_the_backup_stays_locked_and_numbers_are_not_given_out_again(url: str, tmp_path: Path) -> None:
    reserve = 'mutation { reserveNumbers(series: "JC", area: "220102", count: 5) { first last } }'
    file, keys = tmp_path / "one.backup", tmp_path / "data" / "keys"
    async with serving(url, tmp_path / "data") as world:
        client = await world.sign_in("ins")
        assert (await client.data(reserve))["reserveNumbers"] == {"first": 1, "last": 5}
        await backup(url, file, keys, quiet())
        await world.sign_in("ins", "new-1")
        assert (await client.data(reserve))["reserveNumbers"] == {"first": 6, "last": 10}
        await world.execute("UPDATE device SET revoked_at = now(), revoked_for = 'lost'")
        await world.execute("UPDATE user_account SET active = false WHERE username = 'other'")
        await world.execute("UPDATE user_grant SET valid_to = now() WHERE scope = '110000'")
        await restore(url, file, keys, quiet())
        await world.again()
        assert await world.scalar("SELECT array_agg(concat_ws(' ', id, revoked_for) ORDER BY id) FROM device") == [
            "ins-1 lost",
            "new-1 lost",
        ]
        assert not await world.scalar("SELECT active FROM user_account WHERE username = 'other'")
        assert await world.scalar("SELECT array_agg(scope) FROM user_grant WHERE valid_to <= now()") == ["110000"]
        other = await world.sign_in("ins", "ins-2")
        assert (await other.data(reserve))["reserveNumbers"] == {"first": 11, "last": 15}
        assert await world.scalar("SELECT array_agg(first ORDER BY first) FROM number_block") == [1, 6, 11]


async def test_a_backup_is_one_private_file_and_leaves_nothing_beside(url: str, tmp_path: Path) -> None:
    await stamped(url)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "1.pem").write_text("key")
    before = await databases(url)
    facts = await backup(url, tmp_path / "one.backup", tmp_path / "keys", quiet())
    assert facts.counts["user_account"] == 5
    assert names(tmp_path) == ["keys", "one.backup"]
    assert stat.S_IMODE((tmp_path / "one.backup").stat().st_mode) == 0o600
    assert await databases(url) == before


async def test_a_restore_into_an_empty_database_brings_the_keys_and_another_epoch(url: str, cluster_url: str, tmp_path: Path) -> None:
    await stamped(url)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "1.pem").write_text("key")
    await backup(url, tmp_path / "one.backup", tmp_path / "keys", quiet())
    empty = await cluster.create_database(cluster_url, f"test_{os.getpid()}_empty", "template0")
    try:
        assert await restore(empty, tmp_path / "one.backup", tmp_path / "elsewhere", quiet()) == ""
        assert (tmp_path / "elsewhere" / "1.pem").read_text() == "key"
        assert await epoch(empty) not in ("", await epoch(url))
        assert not await migrate.differences(empty)
        assert await fetch(empty, "SELECT series, first, last, device_id FROM number_block") == [("", 1, LOST, "")]
    finally:
        await cluster.drop_database(cluster_url, f"test_{os.getpid()}_empty")


@pytest.mark.parametrize("harm", ["bit", "cut", "other", "newer"])
async def test_a_damaged_or_foreign_file_is_refused_and_nothing_changes(url: str, tmp_path: Path, harm: str) -> None:
    await stamped(url)
    file = tmp_path / "one.backup"
    await backup(url, file, tmp_path, quiet())
    body, known, old = file.read_bytes(), await databases(url), await epoch(url)
    file.write_bytes(
        {
            "bit": body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :],
            "cut": body[:-100],
            "other": b"PGDMP" + body,
            "newer": body,
        }[harm]
    )
    if harm == "newer":
        _rewrite_manifest(file, b'{"schema":["999912312359"],"epoch":"","pos":0,"counts":{}}')
    if harm == "other":
        file.write_bytes(b"PGDMP")
    with pytest.raises(BackupError):
        await restore(url, file, tmp_path / "keys", quiet())
    assert (await databases(url), await epoch(url)) == (known, old)


def _rewrite_manifest(file: Path, manifest: bytes) -> None:
    with zipfile.ZipFile(file) as packed:
        dump = packed.read("database.dump")
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("manifest.json", manifest)
        packed.writestr("database.dump", dump)


@pytest.mark.parametrize("verb", ["backup", "restore"])
async def test_an_interrupted_verb_leaves_no_file_and_no_database(url: str, tmp_path: Path, verb: str) -> None:
    await stamped(url)
    file = tmp_path / "one.backup"
    await backup(url, file, tmp_path, quiet())
    before, old = await databases(url), await epoch(url)
    target = file if verb == "restore" else tmp_path / "two.backup"
    environment: dict[str, Any] = {**os.environ, "ZHIJIAN_DATABASE_URL": url, "DATA": str(tmp_path / "data")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "api",
        verb,
        str(target),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    async def begun() -> bool:
        return await databases(url) != before

    await until(begun, 15)
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.wait(), 15)
    assert process.returncode == 130
    assert (await databases(url), await epoch(url)) == (before, old)
    assert [name for name in names(tmp_path) if ".backup" in name] == ["one.backup"]


async def test_a_database_that_went_back_without_a_sign_is_found_out_by_a_terminal(url: str, tmp_path: Path) -> None:
    """A folder of the cluster that was copied and put back: same cluster, same timeline, same tables."""
    async with serving(url, tmp_path / "data") as world:
        client = await world.sign_in("ins")
        await client.push((None, client.new("甲厂")), (None, client.new("乙厂")))
        await world.stamped()
        assert await client.pull() == [2]
        old = await epoch(url)
        await world.execute("DELETE FROM sync_scope_doc WHERE pos > 1")
        await world.execute("UPDATE sync_head SET pos = 1")
        assert await client.pull() == [1]
        assert await epoch(url) != old
        assert await client.pull() == [0]
