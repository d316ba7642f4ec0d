"""Records promise files; documents wait for them; only readers of the records see them."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime

import pytest
from PIL import Image

from schema.base import Document
from sync.evidence import EVIDENCE_PROMISED
from sync.feed import drain
from sync.identity import uuid7
from sync.rows import Sent
from tests.files.files_world import World, code, item, noise, photo, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
SPOT = (125.35, 43.87)


def _position(lon: float, lat: float, datum: str = "WGS84") -> Document:
    return {"lon": lon, "lat": lat, "datum": datum, "accuracy": 10}


async def _check(world: World, sha256: str) -> tuple[str | None, float | None]:
    (found,) = await world.rows("SELECT position_check, distance FROM evidence_item WHERE sha256 = :sha256", sha256=sha256)
    return found["position_check"], found["distance"]


async def test_a_record_promises_its_files(world: World) -> None:
    content = noise(100)
    document = await world.inspection(item(sha256_of(content).upper(), size=100))
    assert document["evidence"][0]["sha256"] == sha256_of(content)
    assert await world.state(sha256_of(content)) == "PROMISED"
    await world.send(content)
    assert await world.state(sha256_of(content)) == "VERIFIED"


@pytest.mark.parametrize("record", ["finding", "patrol"])
async def test_every_record_with_evidence_promises(world: World, record: str) -> None:
    content = noise(100)
    own: dict[str, Document] = {
        "finding": {"source": "PATROL", "state": "OPEN", "description": "甲"},
        "patrol": {"state": "REPORTED", "patrolled_at": "2026-11-20T01:02:03+00:00"},
    }
    row = {"id": uuid7(datetime.now(UTC)), "enterprise_id": await world.enterprise(), "evidence": [item(sha256_of(content))]}
    (written,) = await world.write(record, Sent(None, row | own[record]))
    assert not written.problems, written.problems
    (found,) = await world.rows("SELECT record, field FROM evidence_item WHERE sha256 = :sha256", sha256=sha256_of(content))
    assert (found["record"], found["field"]) == (record, "evidence")


@pytest.mark.parametrize("sha256", [None, "", "xyz", "0" * 63, 5])
async def test_an_item_without_a_hash_is_refused_and_kept(world: World, sha256: object) -> None:
    row = {**await world.inspection(), "id": uuid7(datetime.now(UTC)), "evidence": [{"id": "1", "sha256": sha256}]}
    (written,) = await world.write("inspection", Sent(None, row))
    assert [problem.code for problem in written.problems] == ["VALUE_INVALID"]
    (kept,) = await world.rows("SELECT mine FROM sync_conflict WHERE doc_id = :id", id=row["id"])
    assert kept["mine"]["evidence"] == row["evidence"]
    assert not await world.rows("SELECT 1 FROM inspection WHERE id = CAST(:id AS uuid)", id=row["id"])


async def test_what_is_signed_in_the_field_is_kept_and_issued_when_the_last_file_is_here(world: World) -> None:
    first, second = noise(100), noise(100)
    document = await world.inspection(item(sha256_of(first)), item(sha256_of(second)))
    assert (document["state"], document["issued_at"]) == ("SIGNED", None)
    await world.send(first)
    assert (await world.master("inspection", document["id"]))["issued_at"] is None
    await world.send(second)
    issued = await world.master("inspection", document["id"])
    assert issued["issued_at"] is not None
    assert issued["revision"] == document["revision"] + 1
    (change,) = await world.rows(
        "SELECT user_id, changes FROM sync_change WHERE doc_id = CAST(:id AS uuid) AND revision = :revision",
        id=document["id"],
        revision=issued["revision"],
    )
    assert change["user_id"] == "server"
    assert list(change["changes"]) == ["issued_at"]


async def test_the_issue_travels_to_the_terminals(world: World) -> None:
    content = noise(100)
    document = await world.inspection(item(sha256_of(content)))
    connection = await world.app.state.database.connect()
    await drain(connection)
    head = await connection.fetchval("SELECT pos FROM sync_head")
    await world.send(content)
    await drain(connection)
    found = await connection.fetch("SELECT scope FROM sync_scope_doc WHERE doc_id = $1 AND pos > $2 AND state = 'in'", document["id"], head)
    await connection.close()
    assert "220102" in {row["scope"] for row in found}


async def test_what_has_all_its_files_is_issued_at_once(world: World) -> None:
    sha256 = await world.send(noise(100))
    document = await world.inspection(item(sha256))
    assert document["issued_at"] is not None
    assert document["revision"] == 1
    assert (await world.inspection())["issued_at"] is not None


async def test_a_draft_is_not_issued(world: World) -> None:
    content = noise(100)
    document = await world.inspection(item(sha256_of(content)), state="DRAFT")
    await world.send(content)
    assert (await world.master("inspection", document["id"]))["issued_at"] is None


async def test_nobody_issues_by_hand(world: World) -> None:
    document = await world.inspection(item(sha256_of(noise(100))), issued_at="2026-11-20T01:02:03+00:00")
    assert document["issued_at"] is None
    (row,) = await world.write("inspection", Sent(None, {"id": document["id"], "issued_at": "2026-11-20T01:02:03+00:00"}, partial=True))
    assert (await world.master("inspection", document["id"]))["issued_at"] is None
    assert row.outcomes


async def test_signing_at_a_desk_is_refused_while_files_are_missing(world: World) -> None:
    content = noise(100)
    draft = await world.inspection(item(sha256_of(content)), state="DRAFT")
    before = await world.master("inspection", draft["id"])
    sign = Sent(None, {"id": draft["id"], "state": "SIGNED"}, partial=True)
    (row,) = await world.write("inspection", sign)
    assert [(problem.code, problem.field) for problem in row.problems] == [(EVIDENCE_PROMISED, "evidence")]
    assert await world.master("inspection", draft["id"]) == before
    await world.send(content)
    (row,) = await world.write("inspection", sign)
    assert not row.problems
    signed = await world.master("inspection", draft["id"])
    assert signed["state"] == "SIGNED"
    assert signed["issued_at"] is not None


async def test_a_photo_that_comes_later_does_not_take_the_issue_back(world: World) -> None:
    document = await world.inspection(item(await world.send(noise(100))))
    later = {**document, "evidence": [*document["evidence"], item(sha256_of(noise(100)))]}
    (row,) = await world.write("inspection", Sent(document, later))
    assert row.after
    assert row.after["issued_at"] == document["issued_at"]
    assert len(row.after["evidence"]) == 2


async def test_push_and_upload_at_the_same_moment_never_leave_a_document_waiting(world: World) -> None:
    contents = [noise(50) for _ in range(12)]
    where = await world.enterprise()
    paths = [await world.create(content) for content in contents]
    both = [world.patch(path, 0, content) for path, content in zip(paths, contents, strict=True)]
    pushes = [world.inspection(item(sha256_of(content)), enterprise_id=where) for content in contents]
    done = await asyncio.gather(*pushes, *both)
    for document in done[: len(contents)]:
        assert isinstance(document, dict)
        assert (await world.master("inspection", document["id"]))["issued_at"] is not None


async def test_a_crash_between_verifying_and_issuing_is_made_good(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    content = noise(100)
    document = await world.inspection(item(sha256_of(content)))

    async def nothing(*_: object) -> None: ...

    with monkeypatch.context() as broken:
        broken.setattr(world.files, "_issue", nothing)
        await world.send(content)
    assert (await world.master("inspection", document["id"]))["issued_at"] is None
    await world.files.sweep(datetime.now(UTC))
    assert (await world.master("inspection", document["id"]))["issued_at"] is not None


async def test_a_crash_between_the_last_byte_and_verifying_is_made_good(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def die(*_: object) -> None:
        raise RuntimeError("power cut")

    contents = [noise(100), noise(100)]
    with monkeypatch.context() as broken:
        broken.setattr(world.files, "_finish", die)
        paths = [await world.create(content) for content in contents]
        for path, content in zip(paths, contents, strict=True):
            assert (await world.patch(path, 0, content)).status_code == 500
    assert await world.offset(paths[0]) == 100  # a full offset is a verified file, also for a client that asks
    assert await world.state(sha256_of(contents[0])) == "VERIFIED"
    assert await world.state(sha256_of(contents[1])) == "PROMISED"
    await world.files.sweep(datetime.now(UTC))
    assert await world.state(sha256_of(contents[1])) == "VERIFIED"


async def test_a_file_is_read_by_those_who_may_read_a_record_that_names_it(world: World) -> None:
    content = photo(*SPOT)
    sha256 = await world.send(content, "image/jpeg")
    assert (await world.get(f"/evidence/{sha256}")).status_code == 404  # no record names it yet
    await world.inspection(item(sha256))
    for username, status in (("officer", 200), ("colleague", 200), ("stranger", 404)):
        assert (await world.get(f"/evidence/{sha256}", username)).status_code == status
        assert (await world.get(f"/evidence/{sha256}/thumbnail", username)).status_code == status
    answer = await world.get(f"/evidence/{sha256}")
    assert answer.content == content
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_promised_file_has_nothing_to_read(world: World) -> None:
    content = noise(100)
    await world.inspection(item(sha256_of(content)))
    await world.patch(await world.create(content), 0, content[:99])
    answer = await world.get(f"/evidence/{sha256_of(content)}")
    assert (answer.status_code, code(answer)) == (404, "EVIDENCE_UNKNOWN")


@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [
        ("bytes=0-9", 206, (0, 10)),
        ("bytes=990-", 206, (990, 1000)),
        ("bytes=-10", 206, (990, 1000)),
        ("bytes=5-99999", 206, (5, 1000)),
        ("bytes=9-5", 200, (0, 1000)),
        ("lines=1-2", 200, (0, 1000)),
        ("bytes=-", 200, (0, 1000)),
        ("bytes=1000-", 416, (0, 0)),
    ],
)
async def test_a_part_of_a_video_can_be_asked_for(world: World, asked: str, status: int, span: tuple[int, int]) -> None:
    content = noise(1000, "video")
    sha256 = await world.send(content, "video/mp4")
    await world.inspection(item(sha256))
    answer = await world.get(f"/evidence/{sha256}", Range=asked)
    assert answer.status_code == status
    if status != 416:
        assert answer.content == content[slice(*span)]


async def test_the_original_is_read_only_and_untouched_and_the_thumbnail_is_drawn_anew(world: World) -> None:
    content = photo(*SPOT, size=(1600, 1200))
    sha256 = await world.send(content, "image/jpeg")
    await world.inspection(item(sha256))
    kept = world.settings.data / "evidence" / "content" / sha256[:2] / sha256
    assert kept.read_bytes() == content
    assert kept.stat().st_mode & 0o777 == 0o444
    answer = await world.get(f"/evidence/{sha256}/thumbnail")
    small = Image.open(io.BytesIO(answer.content))
    assert (answer.headers["Content-Type"], small.size) == ("image/jpeg", (512, 384))
    assert not small.getexif()


async def test_what_is_no_image_has_no_thumbnail_and_is_kept(world: World) -> None:
    content = noise(1000)
    sha256 = await world.send(content, "image/jpeg")
    await world.inspection(item(sha256))
    (found,) = await world.rows("SELECT image_problem, thumbnail FROM evidence WHERE sha256 = :sha256", sha256=sha256)
    assert (found["image_problem"], found["thumbnail"]) == ("IMAGE_UNREADABLE", False)
    assert (await world.get(f"/evidence/{sha256}/thumbnail")).status_code == 404
    assert (await world.get(f"/evidence/{sha256}")).content == content


@pytest.mark.parametrize("upload_first", [True, False])
@pytest.mark.parametrize(
    ("image", "device", "expected"),
    [
        (SPOT, _position(SPOT[0], SPOT[1] + 0.001), "NEAR"),  # 111 m
        (SPOT, _position(SPOT[0], SPOT[1] + 0.01), "FAR"),
        (SPOT, {**_position(SPOT[0], SPOT[1] + 0.01), "accuracy": 800}, "NEAR"),
        (None, _position(*SPOT), "NO_IMAGE_POSITION"),
        (SPOT, None, "NO_DEVICE_POSITION"),
        (SPOT, {"lon": "x"}, "NO_DEVICE_POSITION"),
    ],
)
async def test_where_the_image_was_taken_is_compared_with_where_the_device_was(
    world: World, image: tuple[float, float] | None, device: Document | None, expected: str, upload_first: bool
) -> None:
    content = photo(*image) if image else photo()
    if upload_first:
        await world.send(content, "image/jpeg")
    promised = item(sha256_of(content), **({"position": device} if device else {}))
    document = await world.inspection(promised)
    if not upload_first:
        assert await _check(world, sha256_of(content)) == (None, None)
        await world.send(content, "image/jpeg")
    check, distance = await _check(world, sha256_of(content))
    assert check == expected
    if expected == "FAR":
        assert distance == pytest.approx(1111, rel=0.01)
    kept = (await world.master("inspection", document["id"]))["evidence"]
    assert kept == [promised]


async def test_the_position_of_the_record_stands_in_for_that_of_the_item(world: World) -> None:
    content = photo(*SPOT)
    gcj02 = {"lon": SPOT[0] + 0.0061, "lat": SPOT[1] + 0.0021, "datum": "GCJ02", "accuracy": 10}  # some 550 m off as it stands
    await world.inspection(item(sha256_of(content)), location=gcj02)
    await world.send(content, "image/jpeg")
    check, distance = await _check(world, sha256_of(content))
    assert check == "NEAR"
    assert distance is not None
    assert distance < 150
