"""What tus 1.0 promises, status by status; a refusal leaves the upload as it was."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.files.conftest import LIMIT
from tests.files.files_world import CHUNK, TUS, World, checksum_of, code, described, noise, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_server_says_what_it_can(world: World) -> None:
    answer = await world.client.options("/files")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Tus-Extension"] == "creation,termination,checksum,expiration"
    assert answer.headers["Tus-Max-Size"] == str(LIMIT)
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"


async def test_a_file_in_three_requests_is_there_and_only_then(world: World) -> None:
    content = noise(300_000)
    path = await world.create(content)
    for start in (0, 100_000):
        answer = await world.patch(path, start, content[start : start + 100_000])
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(start + 100_000))
        assert (await world.head(path)).headers["Upload-Length"] == "300000"
        assert (await world.client.head(f"/evidence/{sha256_of(content)}", headers=await world.headers())).status_code == 404
    assert (await world.patch(path, 200_000, content[200_000:])).status_code == 204
    known = await world.client.head(f"/evidence/{sha256_of(content)}", headers=await world.headers())
    assert (known.status_code, known.headers["Content-Length"]) == (200, "300000")
    assert (await world.client.head(f"/evidence/{sha256_of(content)}", headers=await world.headers("stranger"))).status_code == 404
    assert await world.offset(path) == 300_000
    assert not [key for key in await world.stored() if key.startswith(f"pieces/{path.split('/')[-1]}")]


async def test_head_gives_back_what_the_creation_said(world: World) -> None:
    content = noise(10)
    answer = await world.head(await world.create(content))
    assert answer.headers["Upload-Metadata"] == described(sha256_of(content), "application/octet-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    assert parsedate_to_datetime(answer.headers["Upload-Expires"]) > datetime.now(UTC) + timedelta(days=6)


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1"])
async def test_another_version_of_the_protocol_is_412(world: World, version: str | None) -> None:
    path = await world.create(b"abc")
    headers = {key: value for key, value in {**CHUNK, **await world.headers(), "Upload-Offset": "0"}.items() if key != "Tus-Resumable"}
    answer = await world.client.patch(path, headers=headers | ({"Tus-Resumable": version} if version else {}), content=b"abc")
    assert (answer.status_code, answer.headers["Tus-Version"]) == (412, "1.0.0")
    assert await world.offset(path) == 0


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "text/plain"])
async def test_another_content_type_is_415(world: World, content_type: str | None) -> None:
    path = await world.create(b"abc")
    headers = {**TUS, **await world.headers(), "Upload-Offset": "0"} | ({"Content-Type": content_type} if content_type else {})
    assert (await world.client.patch(path, headers=headers, content=b"abc")).status_code == 415
    assert await world.offset(path) == 0


@pytest.mark.parametrize("offset", [1, 2, 4, 3_000_000])
async def test_another_offset_is_409(world: World, offset: int) -> None:
    path = await world.create(noise(5))
    await world.patch(path, 0, b"abc")
    answer = await world.patch(path, offset, b"d")
    assert (answer.status_code, code(answer)) == (409, "OFFSET_MISMATCH")
    assert await world.offset(path) == 3


@pytest.mark.parametrize("offset", ["", "-1", "1.5", "0x1", "99999999999999999999"])
async def test_an_offset_that_is_no_number_is_400(world: World, offset: str) -> None:
    path = await world.create(b"abc")
    answer = await world.client.patch(path, headers={**CHUNK, **await world.headers(), "Upload-Offset": offset}, content=b"abc")
    assert answer.status_code == 400


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_a_wrong_checksum_is_460_and_leaves_no_byte(world: World, algorithm: str) -> None:
    content = noise(5_000_000)  # more than one piece
    path = await world.create(content)
    spoilt = content[:-1] + bytes([content[-1] ^ 1])
    before = await world.stored()
    answer = await world.patch(path, 0, spoilt, checksum=checksum_of(content, algorithm))
    assert (answer.status_code, code(answer)) == (460, "CHECKSUM_MISMATCH")
    assert await world.offset(path) == 0
    assert await world.stored() == before
    assert (await world.patch(path, 0, content, checksum=checksum_of(content, algorithm))).status_code == 204


@pytest.mark.parametrize("checksum", ["md5 rL0Y20zC+Fzt72VPzMSk2A==", "sha256", "sha256 %%%", ""])
async def test_a_checksum_that_nobody_can_check_is_400(world: World, checksum: str) -> None:
    path = await world.create(b"abc")
    headers = {**CHUNK, **await world.headers(), "Upload-Offset": "0", "Upload-Checksum": checksum}
    assert (await world.client.patch(path, headers=headers, content=b"abc")).status_code == 400
    assert await world.offset(path) == 0


async def test_a_hash_that_lies_is_460_and_nothing_is_visible(world: World) -> None:
    content, claimed = noise(100_000), sha256_of(noise(5))
    path = await world.create(content, sha256=claimed)
    answer = await world.patch(path, 0, content)
    assert (answer.status_code, code(answer)) == (460, "EVIDENCE_HASH_MISMATCH")
    assert await world.state(claimed) == "PROMISED"
    assert await world.state(sha256_of(content)) == ""
    assert not {key for key in await world.stored() if claimed in key or sha256_of(content) in key or path.split("/")[-1] in key}
    assert (await world.head(path)).status_code == 410


async def test_bytes_beyond_the_length_are_413(world: World) -> None:
    path = await world.create(b"abc")

    async def unannounced() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    for body in (b"abcd", unannounced()):
        answer = await world.patch(path, 0, body)
        assert (answer.status_code, code(answer)) == (413, "BEYOND_LENGTH")
        assert await world.offset(path) == 0


async def test_a_file_over_the_limit_is_413(world: World) -> None:
    before = await world.rows("SELECT count(*) FROM upload")
    headers = {**TUS, **await world.headers(), "Upload-Length": str(LIMIT + 1), "Upload-Metadata": described("0" * 64, "video/mp4")}
    answer = await world.client.post("/files", headers=headers)
    assert (answer.status_code, code(answer)) == (413, "FILE_TOO_LARGE")
    assert await world.rows("SELECT count(*) FROM upload") == before


@pytest.mark.parametrize(
    "metadata",
    ["", "sha256", "sha256 !!!", described("xyz", "image/png"), described("0" * 64, "text/html"), "media_type aW1hZ2UvcG5n", "sha256 //79"],
)
async def test_a_file_without_hash_or_type_is_400(world: World, metadata: str) -> None:
    answer = await world.client.post("/files", headers={**TUS, **await world.headers(), "Upload-Length": "3", "Upload-Metadata": metadata})
    assert (answer.status_code, code(answer)) == (400, "METADATA_INVALID")


async def test_nobody_gets_in_without_a_token(world: World) -> None:
    path = await world.create(b"abc")
    for method, url in (("POST", "/files"), ("HEAD", path), ("PATCH", path), ("DELETE", path), ("GET", f"/evidence/{'0' * 64}")):
        answer = await world.client.request(method, url, headers={**CHUNK, "Upload-Offset": "0"})
        assert answer.status_code == 401, method
    assert await world.offset(path) == 0


async def test_an_upload_is_its_devices_alone(world: World) -> None:
    path = await world.create(b"abc")
    for who, status in (({"username": "colleague"}, 404), ({"device": "second"}, 403)):
        assert (await world.patch(path, 0, b"abc", **who)).status_code == status
        assert (await world.head(path, **who)).status_code == status
        assert (await world.client.delete(path, headers={**TUS, **await world.headers(**who)})).status_code == status
    assert await world.offset(path) == 0


async def test_an_unknown_upload_is_404(world: World) -> None:
    for path in ("/files/01a0f4c2-c400-7000-8000-000000000bec", "/files/x"):
        assert (await world.head(path)).status_code == 404


async def test_a_deleted_upload_is_gone_with_its_bytes(world: World) -> None:
    path = await world.create(noise(10))
    await world.patch(path, 0, b"abc")
    answer = await world.client.delete(path, headers={**TUS, **await world.headers()})
    assert answer.status_code == 204
    assert (await world.head(path)).status_code == 404
    assert not [key for key in await world.stored() if path.split("/")[-1] in key]


async def test_an_expired_upload_is_410_then_swept_then_forgotten(world: World) -> None:
    path = await world.create(noise(10))
    upload_id = path.split("/")[-1]
    await world.patch(path, 0, b"abc")
    await world.execute("UPDATE upload SET expires_at = now() - interval '1 second' WHERE id = CAST(:id AS uuid)", id=upload_id)
    assert (await world.patch(path, 3, b"def")).status_code == 410
    await world.files.sweep(datetime.now(UTC))
    assert (await world.head(path)).status_code == 410
    assert not [key for key in await world.stored() if upload_id in key]
    await world.files.sweep(datetime.now(UTC) + timedelta(days=8))
    assert (await world.head(path)).status_code == 404


async def test_two_writers_at_once_are_one_writer(world: World) -> None:
    content = noise(200_000)
    path = await world.create(content)
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield content[:100_000]
        begun.set()
        await asyncio.sleep(0.5)
        yield content[100_000:]

    first = asyncio.create_task(world.patch(path, 0, slow()))
    await begun.wait()
    await asyncio.sleep(0.1)
    second = await world.patch(path, 0, content)
    assert (second.status_code, code(second)) == (423, "UPLOAD_BUSY")
    assert (await world.client.delete(path, headers={**TUS, **await world.headers()})).status_code == 423
    assert (await first).status_code == 204
    assert await world.state(sha256_of(content)) == "VERIFIED"


async def test_of_many_writers_one_wins_and_the_file_is_right(world: World) -> None:
    content = noise(50_000)
    path = await world.create(content)
    answers = await asyncio.gather(*(world.patch(path, 0, content) for _ in range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {409, 423}, statuses
    assert await world.state(sha256_of(content)) == "VERIFIED"


async def test_a_writer_that_lost_its_lease_writes_nothing_more(world: World) -> None:
    content = noise(9_000_000)
    path = await world.create(content)
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield content[:100_000]
        begun.set()
        await asyncio.sleep(0.5)
        yield content[100_000:]

    first = asyncio.create_task(world.patch(path, 0, slow()))
    await begun.wait()
    await asyncio.sleep(0.1)
    await world.execute("UPDATE upload SET writer_until = now() - interval '1 s' WHERE id = CAST(:id AS uuid)", id=path.split("/")[-1])
    assert (await world.patch(path, 0, content[:10])).status_code == 204
    assert (await first).status_code == 423
    assert await world.offset(path) == 10
    assert (await world.patch(path, 10, content[10:])).status_code == 204


async def test_a_known_file_is_kept_once(world: World) -> None:
    content = noise(1000)
    sha256 = await world.send(content)
    before = await world.stored()
    assert await world.send(content, username="stranger") == sha256
    assert await world.stored() == before
    path = await world.create(noise(1000), sha256=sha256)
    assert (await world.patch(path, 0, noise(1000))).status_code == 460
    assert await world.state(sha256) == "VERIFIED"


async def test_an_empty_file_is_a_file(world: World) -> None:
    path = await world.create(b"")
    assert await world.offset(path) == 0
    assert await world.state(hashlib.sha256().hexdigest()) == "VERIFIED"


async def test_a_method_may_come_in_a_header(world: World) -> None:
    path = await world.create(b"abc")
    headers = {**CHUNK, **await world.headers(), "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert (await world.client.post(path, headers=headers, content=b"abc")).status_code == 204
    assert (await world.client.put(path, headers={**CHUNK, **await world.headers()})).status_code == 405


async def test_unfinished_uploads_of_one_person_are_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.files.UNFINISHED", 1)
    await world.create(b"abc", username="stranger")
    metadata = described(sha256_of(b"abc"), "image/png")
    headers = {**TUS, **await world.headers("stranger"), "Upload-Length": "3", "Upload-Metadata": metadata}
    answer: httpx.Response = await world.client.post("/files", headers=headers)
    assert (answer.status_code, code(answer)) == (429, "TOO_MANY_UPLOADS")
    assert "Retry-After" in answer.headers
