"""The hash chain: complete whatever the writers do, and broken by whatever is done behind its back."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api import audit
from api.settings import Settings
from schema.accounts import audit_entry
from schema.actor import Actor, Role
from schema.feed import sync_change
from schema.metadata import metadata
from sync.audit import SOURCES, Chainer, heads, note_heads
from sync.chain import DIGESTS, FIRST, area_of, link
from sync.rows import Sent
from tests.audit.audit_world import COUNTY, OTHER, World, new_id


async def _some_changes(world: World, changes: int = 6) -> Actor:
    inspector = await world.person(Role.INSPECTOR, COUNTY, OTHER)
    first = await world.enterprise(inspector)
    await world.enterprise(inspector, OTHER)
    for number in range(changes):
        await world.change(inspector, "enterprise", first, employees=number + 1)
    return inspector


def test_both_digests_are_those_of_their_standards() -> None:
    assert DIGESTS["sha256"](b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert DIGESTS["sm3"](b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"  # GB/T 32905-2016, A.1


@pytest.mark.parametrize("source", SOURCES)
def test_every_column_of_an_entry_is_hashed(source: str) -> None:
    table, text = SOURCES[source]
    for column in metadata.tables[table].columns:
        assert f"{{0}}.{column.name}" in text, "what is chained can't change: add a source for the new form"
    assert {sync_change.name, audit_entry.name} == {name for name, _ in SOURCES.values()}


def test_an_entry_stands_in_its_countys_chain_or_the_next_larger() -> None:
    assert area_of(["220000", "220100", "220102", "220102001", "user:1", "J220101"]) == "220102"
    assert area_of(["441900", "440000", "441900003"]) == "441900"
    assert area_of(["220110", "220100", "220000"]) == "220110"
    assert area_of(["220103", "220102"]) == "220102"
    assert area_of(["user:1"]) == area_of([]) == "000000"


LINKS = st.lists(st.tuples(st.integers(1, 9), st.text("ab\n1", max_size=3)), min_size=1, max_size=6)


@given(LINKS, LINKS)
@hypothesis_settings(max_examples=200)
def test_two_histories_have_one_hash_only_if_they_are_one(one: list[tuple[int, str]], other: list[tuple[int, str]]) -> None:
    def end(entries: list[tuple[int, str]]) -> bytes:
        previous = FIRST
        for seq, (entry_id, content) in enumerate(entries, 1):
            previous = link(DIGESTS["sha256"], previous, "220102", seq, "change", entry_id, json.dumps(content))
        return previous

    assert (end(one) == end(other)) == (one == other)


@pytest.mark.parametrize("algorithm", ["sha256", "sm3"])
async def test_a_history_that_nobody_touched_has_no_fault(world: World, algorithm: str) -> None:
    await _some_changes(world)
    assert await world.faults() == []
    assert await world.chain(algorithm) > 0
    assert await world.faults() == []
    areas = {row["area"] for row in await world.rows("SELECT DISTINCT area FROM audit_chain WHERE source = 'change'")}
    assert areas == {COUNTY, OTHER}
    assert {row["algorithm"] for row in await world.rows("SELECT DISTINCT algorithm FROM audit_chain")} == {algorithm}


async def test_what_was_chained_stays_good_when_the_setting_changes(world: World) -> None:
    await _some_changes(world)
    await world.chain("sha256")
    await _some_changes(world)
    await world.chain("sm3")
    assert await world.faults() == []


@pytest.mark.parametrize("table", ["sync_change", "audit_entry", "audit_chain"])
async def test_the_logs_take_nothing_but_new_rows(world: World, table: str) -> None:
    await _some_changes(world)
    await world.chain()
    before = await world.rows(f"SELECT count(*) FROM {table}")
    column = "area"
    for statement in (f"UPDATE {table} SET {column} = '1'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.RaiseError, match="insert-only"):
            await world.execute(statement)
    assert await world.rows(f"SELECT count(*) FROM {table}") == before


THIRD = "(SELECT entry_id FROM audit_chain WHERE area = '220102' AND source = 'change' ORDER BY seq OFFSET 2 LIMIT 1)"
TAMPERING = {
    "a value": ([f"UPDATE sync_change SET changes = '{{\"employees\": [1, 999]}}' WHERE id = {THIRD}"], {"ALTERED"}),
    "a name": ([f"UPDATE sync_change SET user_id = 'somebody else' WHERE id = {THIRD}"], {"ALTERED"}),
    "a time": ([f"UPDATE sync_change SET at = at + interval '1 microsecond' WHERE id = {THIRD}"], {"ALTERED"}),
    "a county": ([f"UPDATE sync_change SET area = '{OTHER}' WHERE id = {THIRD}"], {"ALTERED"}),
    "a log-in": (["UPDATE audit_entry SET kind = 'X' WHERE id = (SELECT min(id) FROM audit_entry)"], {"ALTERED"}),
    "a removal": ([f"DELETE FROM sync_change WHERE id = {THIRD}"], {"MISSING"}),
    "a removal with its link": (
        [
            "CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT * FROM audit_chain WHERE area = '220102' AND seq = 3",
            "DELETE FROM sync_change WHERE id IN (SELECT entry_id FROM gone WHERE source = 'change')",
            "DELETE FROM audit_chain WHERE area = '220102' AND seq = 3",
        ],
        {"GAP", "ALTERED"},
    ),
    "a removal that renumbers": (
        [
            "DELETE FROM audit_chain WHERE area = '220102' AND seq = 3",
            "UPDATE audit_chain SET seq = seq - 1 WHERE area = '220102' AND seq > 3",
        ],
        {"ALTERED", "INSERTED"},
    ),
    "two links in another order": (
        [
            "UPDATE audit_chain SET seq = -3 WHERE area = '220102' AND seq = 3",
            "UPDATE audit_chain SET seq = 3 WHERE area = '220102' AND seq = 4",
            "UPDATE audit_chain SET seq = 4 WHERE area = '220102' AND seq = -3",
        ],
        {"ALTERED"},
    ),
    "two entries in another order": (
        [
            f"UPDATE sync_change SET id = -1 WHERE id = {THIRD}",
            f"UPDATE sync_change SET id = {THIRD} WHERE id = {THIRD} + 1",
            f"UPDATE sync_change SET id = {THIRD} + 1 WHERE id = -1",
        ],
        {"ALTERED"},
    ),
    "an entry slipped in": (
        [
            "INSERT INTO sync_change (id, record, doc_id, revision, kind, area)"
            " VALUES (0, 'enterprise', gen_random_uuid(), 1, 'CREATE', '220102')"
        ],
        {"INSERTED"},
    ),
    "a hash": (["UPDATE audit_chain SET hash = sha256('') WHERE area = '220102' AND seq = 3"], {"ALTERED"}),
}


async def test_tampering_behind_the_triggers_is_found(world: World) -> None:
    await _some_changes(world)
    await world.chain()
    for what, (statements, kinds) in TAMPERING.items():
        found = await world.faults_after(*statements)
        assert {fault.kind for fault in found} == kinds, (what, [str(fault) for fault in found])
        assert await world.faults() == []


async def test_one_altered_entry_is_named_and_no_other(world: World) -> None:
    await _some_changes(world)
    await world.chain()
    (altered,) = await world.rows("SELECT entry_id, seq FROM audit_chain WHERE area = '220102' AND source = 'change' AND seq = 4")
    (fault,) = await world.faults_after(f"UPDATE sync_change SET device_id = 'another' WHERE id = {altered['entry_id']}")
    assert str(fault) == f"ALTERED area 220102 number 4: sync_change {altered['entry_id']}"


async def test_a_chain_that_was_cut_or_written_anew_is_found_by_heads_kept_elsewhere_and_by_the_countrys_chain(world: World) -> None:
    await _some_changes(world)
    await world.chain()
    async with world.database.pool.acquire() as connection:
        kept = await heads(connection)
        await note_heads(connection)
    await world.chain()
    assert kept[COUNTY][0] == 7
    assert await world.faults(kept) == []
    await world.tamper("DELETE FROM audit_chain WHERE area = '220102' AND seq > 3", "DELETE FROM sync_change WHERE revision > 3")
    assert {(fault.kind, fault.area, fault.seq) for fault in await world.faults()} == {("CUT", COUNTY, 7)}
    await world.tamper("DELETE FROM audit_entry WHERE kind = 'CHAIN_HEADS'")
    assert {fault.kind for fault in await world.faults()} == {"MISSING"}
    assert ("CUT", COUNTY, 7) in {(fault.kind, fault.area, fault.seq) for fault in await world.faults(kept)}


async def test_eight_writers_and_two_chainers_leave_a_chain_without_a_hole(world: World) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY, OTHER)
    running = [asyncio.create_task(Chainer(world.url, "sha256").run()) for _ in range(2)]

    async def writer(number: int) -> None:
        for _ in range(5):
            area = random.choice(["220102001", OTHER])
            rows = [Sent(None, {"id": new_id(), "name": "厂", "area_code": area, "status": "OPERATING"}) for _ in range(20)]
            async with world.database.engine.begin() as connection:
                await world.apply(connection, inspector, rows)
                await asyncio.sleep(0.02 * number)  # ids commit out of their order

    await asyncio.gather(*(writer(number) for number in range(8)))
    await asyncio.sleep(0.6)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await world.chain()
    assert await world.faults() == []
    (counted,) = await world.rows("SELECT count(*) AS links, count(DISTINCT entry_id) AS entries FROM audit_chain WHERE source = 'change'")
    assert (counted["links"], counted["entries"]) == (800, 800)
    dense = await world.rows("SELECT area, count(*) = max(seq) AND min(seq) = 1 AS dense FROM audit_chain GROUP BY area")
    assert all(row["dense"] for row in dense)


async def test_an_idle_writer_delays_nobody_elses_links_and_its_own_come_later(world: World) -> None:
    inspector = await world.person(Role.INSPECTOR, COUNTY)
    async with world.database.engine.begin() as connection:
        await world.apply(connection, inspector, [Sent(None, {"id": new_id(), "name": "慢", "area_code": COUNTY, "status": "OPERATING"})])
        await world.enterprise(inspector)
        await world.chain(whole=False)
        links = await world.rows("SELECT count(*) AS n FROM audit_chain WHERE source = 'change'")
        assert links[0]["n"] == 1
        assert await world.rows("SELECT complete_to FROM audit_progress WHERE source = 'change' AND complete_to > 0") == []
    assert await world.faults() == []  # committed and not chained yet is no fault
    await world.chain()
    links = await world.rows("SELECT count(*) AS n FROM audit_chain WHERE source = 'change'")
    assert links[0]["n"] == 2
    assert await world.faults() == []


async def test_a_role_that_owns_nothing_writes_but_cannot_change_the_audit(world: World) -> None:
    role = f"clerk_{new_id()[-8:]}"
    await world.execute(f'CREATE ROLE "{role}"')
    try:
        async with world.database.pool.acquire() as connection:
            await audit.fit_role(connection, role)
            await connection.execute(f'SET ROLE "{role}"')
            try:
                await connection.execute(
                    "INSERT INTO sync_change (record, doc_id, revision, kind) VALUES ('enterprise', gen_random_uuid(), 1, 'CREATE')"
                )
                for table in audit.INSERT_ONLY:
                    for statement in (
                        f"UPDATE {table} SET area = ''",
                        f"DELETE FROM {table}",
                        f"TRUNCATE {table}",
                        f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                        f"DROP TABLE {table}",
                    ):
                        with pytest.raises(asyncpg.InsufficientPrivilegeError):
                            await connection.execute(statement)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute("SET session_replication_role = replica")
            finally:
                await connection.execute("RESET ROLE")
    finally:
        await world.execute(f'DROP OWNED BY "{role}"')
        await world.execute(f'DROP ROLE "{role}"')


def test_the_command_says_what_it_found_and_ends_with_1(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(database_url=database_url, data=tmp_path)

    async def fill(statement: str) -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(statement)
        await connection.close()

    asyncio.run(fill("INSERT INTO audit_entry (at, kind) VALUES (now(), 'LOGIN')"))
    assert audit.main(settings, ["heads"]) == 0
    kept = tmp_path / "heads.json"
    kept.write_text(capsys.readouterr().out)
    assert json.loads(kept.read_text())["000000"][0] == 1
    assert audit.main(settings, ["verify", "--heads", str(kept)]) == 0
    assert capsys.readouterr().out == "1 entries in 1 chains, 0 not chained yet, 0 faults\n"
    asyncio.run(fill("UPDATE audit_entry SET kind = 'LOGOUT'"))
    assert audit.main(settings, ["verify"]) == 1
    assert capsys.readouterr().out.startswith("ALTERED area 000000 number 1: audit_entry ")
