"""What nobody needs is thrown away; what a document may need is not, whoever else is at work at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from schema.base import Document
from schema.registry import load
from sync import evidence
from sync.collector import RETENTION, Collector, keep_out
from sync.files import KEPT, content_key, thumbnail_key
from sync.merge import Edit
from sync.moment import Moment
from sync.rows import Row
from tests.files.files_world import World, database, item, noise, photo, serving, settings_of, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(cluster_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Of its own: a collector looks at everything there is."""
    async with database(cluster_url, template) as url, serving(settings_of(url, tmp_path_factory.mktemp("collected"))) as made:
        yield made


class Clock:
    """Rounds of a collector, each a day after the one before."""

    def __init__(self, world: World) -> None:
        self.collector = Collector(world.files.engine, world.files.vault, world.files.registry)
        self.now = datetime.now(UTC)

    async def days(self, count: int) -> None:
        for _ in range(2):  # marked in one round, collected in another
            await self.collector.collect(self.now)
            self.now += timedelta(days=count)
        await self.collector.collect(self.now)


async def _delete(world: World, record: str, row_id: str) -> None:
    await world.execute(f"UPDATE {record} SET deleted = true WHERE id = CAST(:id AS uuid)", id=row_id)


async def test_only_what_no_live_and_no_issued_document_names_goes_and_only_after_its_time(place: World) -> None:
    kinds = (
        "never named",
        "of a deleted draft",
        "replaced in a draft",
        "of a live draft",
        "of a deleted issued one",
        "replaced in an issued one",
    )
    contents = {kind: photo() for kind in kinds}
    hashes = {kind: await place.send(content, "image/jpeg") for kind, content in contents.items()}
    drafts = {kind: await place.inspection(item(hashes[kind]), state="DRAFT") for kind in kinds[1:4]}
    issued = {kind: await place.inspection(item(hashes[kind])) for kind in kinds[4:]}
    await _delete(place, "inspection", drafts["of a deleted draft"]["id"])
    await _delete(place, "inspection", issued["of a deleted issued one"]["id"])
    for document in (drafts["replaced in a draft"], issued["replaced in an issued one"]):
        other = {**document["evidence"][0], "sha256": await place.send(noise(20))}
        await _rename(place, document, other)
    clock = Clock(place)
    await clock.collector.collect(clock.now)
    assert clock.collector.collected.unnamed == 3
    await clock.collector.collect(clock.now + RETENTION - timedelta(seconds=1))
    assert set(hashes.values()) == {sha256 for sha256 in hashes.values() if await place.state(sha256) == "VERIFIED"}
    await clock.collector.collect(clock.now + RETENTION)
    stored = await place.stored()
    for kind, sha256 in hashes.items():
        gone = kind in kinds[:3]
        assert (await place.state(sha256) in ("", "PROMISED")) == gone, kind
        assert (content_key(sha256) in stored, thumbnail_key(sha256) in stored) == (not gone, not gone), kind
    assert (clock.collector.collected.files, clock.collector.collected.bytes) == (3, sum(len(contents[kind]) for kind in kinds[:3]))


async def _rename(world: World, document: Document, other: Document) -> None:
    """Another file under the same item, as the inbox may decide: the write path's own statements, past the policy that only appends."""
    record, moment = load()["inspection"], Moment(datetime.now(UTC))
    before = await world.master("inspection", document["id"])
    row = Row(
        document["id"], {}, Edit(before, {}, None, 0), None, before=before, after={**before, "evidence": [other]}, changed=("evidence",)
    )
    async with world.app.state.database.engine.begin() as connection:
        actor = await world.actor()
        proofs = await evidence.promise(connection, actor, load(), record, [row])
        await evidence.attach(connection, actor, record, [row], proofs, moment)


async def test_a_collected_file_can_be_sent_again(place: World) -> None:
    content = noise(3000)
    sha256 = await place.send(content)
    clock = Clock(place)
    await clock.days(31)
    assert await place.state(sha256) == ""
    assert (await place.client.head(f"/evidence/{sha256}", headers=await place.headers())).status_code == 404
    await place.send(content)
    assert (await place.inspection(item(sha256)))["issued_at"] is not None
    assert (await place.get(f"/evidence/{sha256}")).content == content
    await clock.days(31)
    assert await place.state(sha256) == "VERIFIED"


async def test_an_upload_on_its_way_saves_the_file(place: World) -> None:
    content = noise(3000)
    sha256 = await place.send(content)
    clock = Clock(place)
    await clock.collector.collect(clock.now)
    path = await place.create(content)
    await place.patch(path, 0, content[:1000])
    await clock.collector.collect(clock.now + RETENTION)
    assert content_key(sha256) in await place.stored()
    assert (await place.patch(path, 1000, content[1000:])).status_code == 204
    assert await place.files.vault.get(content_key(sha256)) == content


async def test_collecting_beside_uploads_and_namings_never_breaks_a_promise(place: World) -> None:
    """Whatever the order: what counts as verified is in the store, whole; what a document shows can be read."""
    where = await place.enterprise()
    collectors = [Collector(place.files.engine, place.files.vault, place.files.registry, timedelta(0)) for _ in range(2)]
    over = asyncio.Event()

    async def forever(collector: Collector) -> None:
        while not over.is_set():
            await collector.collect(datetime.now(UTC))
            await asyncio.sleep(0)

    async def life(number: int) -> None:
        content = noise(2000, f"race {number % 3}")
        for _ in range(5):
            await place.send(content)
            if number >= 6:
                document = await place.inspection(item(sha256_of(content)), enterprise_id=where, state="DRAFT")
                await _delete(place, "inspection", document["id"])

    working = [asyncio.create_task(forever(collector)) for collector in collectors]
    await asyncio.gather(*(life(number) for number in range(9)))
    over.set()
    await asyncio.gather(*working)
    assert sum(collector.collected.files for collector in collectors) > 0
    for row in await place.rows("SELECT sha256 FROM evidence WHERE state = 'VERIFIED'"):
        assert sha256_of(await place.files.vault.get(content_key(row["sha256"]))) == row["sha256"]
    assert not await place.rows("SELECT 1 FROM evidence_item i JOIN evidence e USING (sha256) WHERE i.proven AND e.state <> 'VERIFIED'")
    assert not await place.rows(
        "SELECT 1 FROM evidence_proof p LEFT JOIN evidence e USING (sha256) WHERE e.state IS DISTINCT FROM 'VERIFIED'"
    )


async def test_nothing_is_collected_while_a_backup_or_restore_keeps_collectors_out(place: World) -> None:
    sha256 = await place.send(noise(3000))
    clock = Clock(place)
    await clock.collector.collect(clock.now)
    backing_up = await asyncpg.connect(place.settings.database_url)
    await keep_out(backing_up)
    await clock.collector.collect(clock.now + RETENTION)
    assert await place.state(sha256) == "VERIFIED"
    assert content_key(sha256) in await place.stored()
    await backing_up.close()
    await clock.collector.collect(clock.now + RETENTION)
    assert await place.state(sha256) == ""


async def test_a_crash_between_giving_up_and_throwing_away_is_made_good(place: World, monkeypatch: pytest.MonkeyPatch) -> None:
    content = noise(3000)
    sha256 = await place.send(content)
    clock = Clock(place)
    await clock.collector.collect(clock.now)

    async def die() -> int:
        raise RuntimeError("power cut")

    with monkeypatch.context() as broken:
        broken.setattr(clock.collector, "_throw_away", die)
        with pytest.raises(RuntimeError):
            await clock.collector.collect(clock.now + RETENTION)
    assert await place.state(sha256) == "PROMISED"
    assert content_key(sha256) in await place.stored()
    await clock.collector.collect(clock.now + RETENTION)
    assert content_key(sha256) not in await place.stored()


async def test_bytes_that_no_row_knows_go_when_they_are_old(place: World) -> None:
    content, clock = noise(100), Clock(place)
    path = await place.create(noise(100))
    await place.patch(path, 0, b"abc")
    alive = {key for key in await place.stored() if path.split("/")[-1] in key}
    strays = {content_key(sha256_of(content)), "pieces/01a0f4c2-c400-7000-8000-000000000bec/000000000000000-00000000"}
    for key in strays:
        await place.files.vault.put(key, content)
    await clock.collector.collect(clock.now + KEPT - timedelta(minutes=1))
    assert strays <= await place.stored()
    await clock.collector.collect(clock.now + RETENTION + timedelta(minutes=1))
    assert not strays & await place.stored()
    assert alive <= await place.stored()


async def test_what_is_collected_and_abandoned_is_counted(place: World) -> None:
    text = (await place.client.get("/metrics")).text
    for name in ("collected", "collected_bytes", "unnamed", "expired", "strays", "memory_bytes", "writing"):
        assert f"zhijian_files_{name} " in text
