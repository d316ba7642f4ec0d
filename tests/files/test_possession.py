"""Who knows a hash doesn't hold the file: the attack, and what must go on working beside its defence."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from schema.base import Document
from sync.identity import uuid7
from sync.rows import Sent
from tests.files.files_world import THERE, World, item, noise, photo, sha256_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
SPOT = (125.35, 43.87)
EVIDENCE = """query ($record: String!, $ids: [ID!]!, $first: Int! = 200, $after: String) {
  evidence(record: $record, ids: $ids, first: $first, after: $after) { hasNextPage endCursor nodes {
    docId field itemId sha256 state size mediaType url thumbnailUrl width height takenAt positionCheck distance imageProblem } } }"""
WAITING = """query ($record: String, $first: Int! = 50, $after: String) {
  documentsWaiting(record: $record, first: $first, after: $after) { hasNextPage endCursor nodes {
    record recordLabel docId documentLabel missing awaitsIssue people devices } } }"""


async def ask(world: World, query: str, username: str = "officer", **variables: Any) -> Any:
    answer = await world.client.post("/graphql", json={"query": query, "variables": variables}, headers=await world.headers(username))
    told = answer.json()
    return told["data"] if "errors" not in told else told["errors"][0]["extensions"]["code"]


async def files_of(world: World, document: Document, username: str = "officer") -> list[Document]:
    found: list[Document] = (await ask(world, EVIDENCE, username, record="inspection", ids=[document["id"]]))["evidence"]["nodes"]
    return found


async def status(world: World, sha256: str, username: str) -> int:
    return (await world.get(f"/evidence/{sha256}", username)).status_code


async def theirs(world: World, *items: Document, **values: Any) -> Document:
    """A document of the stranger's own, in his own county."""
    (enterprise,) = await world.write("enterprise", Sent(None, {"id": _id(), "name": "乙", "area_code": THERE}), username="stranger")
    row = {
        "id": _id(),
        "enterprise_id": enterprise.id,
        "kind": "ROUTINE",
        "state": "SIGNED",
        "inspected_at": "2026-11-20T01:02:03+00:00",
        "officers": ["stranger", "another"],
        "evidence": list(items),
        **values,
    }
    (written,) = await world.write("inspection", Sent(None, row), username="stranger")
    assert not written.problems, written.problems
    assert written.after
    return written.after


def _id() -> str:
    return uuid7(datetime.now(UTC))


async def test_who_names_a_hash_that_he_only_knows_learns_nothing_of_the_file(world: World) -> None:
    content = photo(*SPOT)
    sha256 = await world.send(content, "image/jpeg")
    await world.inspection(item(sha256))
    attack = await theirs(world, item(sha256, media_type="video/mp4", size=7, position={"lon": 125.3, "lat": 43.8, "datum": "WGS84"}))
    assert await status(world, sha256, "officer") == 200
    assert await status(world, sha256, "stranger") == 404
    assert (await world.get(f"/evidence/{sha256}/thumbnail", "stranger")).status_code == 404
    assert (await world.client.head(f"/evidence/{sha256}", headers=await world.headers("stranger"))).status_code == 404
    (told,) = await files_of(world, attack, "stranger")
    assert {name: value for name, value in told.items() if value is not None} == {
        "docId": attack["id"],
        "field": "evidence",
        "itemId": attack["evidence"][0]["id"],
        "sha256": sha256,
        "state": "PROMISED",
        "size": 7,
        "mediaType": "video/mp4",
    }
    assert attack["issued_at"] is None  # nor does the issue betray that the file is here
    assert (await world.rows("SELECT position_check, distance FROM evidence_item WHERE doc_id = CAST(:id AS uuid)", id=attack["id"])) == [
        {"position_check": None, "distance": None}
    ]


async def test_it_does_not_help_to_name_it_first_nor_to_edit_it_nor_to_begin_an_upload(world: World) -> None:
    content = noise(1000)
    sha256 = sha256_of(content)
    attack = await theirs(world, item(sha256))
    await world.send(content)
    await world.inspection(item(sha256))
    assert await status(world, sha256, "stranger") == 404
    moved = {**attack, "evidence": [{**attack["evidence"][0], "position": {"lon": 125.3, "lat": 43.8, "datum": "WGS84"}}]}
    await world.write("inspection", Sent(attack, moved), username="stranger")
    path = await world.create(content, username="stranger")
    await world.patch(path, 0, content[:999], username="stranger")
    assert await status(world, sha256, "stranger") == 404
    assert (await world.patch(path, 999, b"%c" % (content[999] ^ 1), username="stranger")).status_code == 460
    assert await status(world, sha256, "stranger") == 404
    assert (await world.master("inspection", attack["id"]))["issued_at"] is None


async def test_who_holds_the_file_proves_it_by_sending_it_and_it_is_kept_once(world: World) -> None:
    content = noise(1000)
    sha256 = await world.send(content)
    await world.inspection(item(sha256))
    second = await theirs(world, item(sha256))
    before = await world.stored()
    await world.send(content, username="stranger")
    assert await world.stored() == before
    assert await status(world, sha256, "stranger") == 200
    assert (await world.master("inspection", second["id"]))["issued_at"] is not None
    assert (await files_of(world, second, "stranger"))[0]["state"] == "VERIFIED"
    assert (await theirs(world, item(sha256)))["issued_at"] is not None  # and needn't again


async def test_who_may_read_a_file_may_name_it_without_sending_it(world: World) -> None:
    """A finding takes over the photo of a colleague's inspection."""
    sha256 = await world.send(noise(1000))
    await world.inspection(item(sha256))
    row = {"id": _id(), "enterprise_id": await world.enterprise(), "source": "PATROL", "state": "OPEN", "description": "甲"}
    (written,) = await world.write("finding", Sent(None, {**row, "evidence": [item(sha256)]}), username="colleague")
    assert not written.problems
    (found,) = await world.rows("SELECT proven FROM evidence_item WHERE doc_id = CAST(:id AS uuid)", id=row["id"])
    assert found["proven"]
    assert (await world.client.head(f"/evidence/{sha256}", headers=await world.headers("colleague"))).status_code == 200


async def test_nobody_else_vouches_for_an_attackers_item_by_editing_the_document(world: World) -> None:
    """The victim's colleague, who holds the file, edits a document in which somebody else has named it."""
    content = noise(1000)
    sha256 = sha256_of(content)
    document = await world.inspection(state="DRAFT", evidence=[item(sha256)])  # the officer names, and never sends
    await world.send(content, username="colleague")
    (row,) = await world.write(
        "inspection",
        Sent(
            None, {"id": document["id"], "opinion": "甲", "evidence": [*document["evidence"], item(noise(5).hex()[:4] * 16)]}, partial=True
        ),
        username="colleague",
    )
    assert not row.problems, row.problems
    assert await status(world, sha256, "officer") == 404
    adopted = Sent({}, {"id": document["id"], "evidence": [item(sha256)]}, partial=True, named_by=(await world.actor("officer")).user_id)
    await world.write("inspection", adopted, username="colleague")  # as the inbox adopts a value of the officer's
    assert await status(world, sha256, "officer") == 404
    assert len(await world.rows("SELECT 1 FROM evidence_item WHERE sha256 = :sha256 AND NOT proven", sha256=sha256)) == 2


async def test_the_same_push_and_the_same_upload_again_change_nothing(world: World) -> None:
    content = noise(1000)
    document = await world.inspection(item(sha256_of(content)))
    await world.send(content)
    issued = await world.master("inspection", document["id"])
    assert issued["issued_at"] is not None
    await world.write("inspection", Sent(None, {**document, "issued_at": None, "revision": None}))  # the answer was lost
    await world.send(content)
    assert await world.master("inspection", document["id"]) == issued
    assert await status(world, sha256_of(content), "officer") == 200


async def test_naming_and_proof_at_the_same_moment_never_miss_each_other(world: World) -> None:
    contents = [noise(50) for _ in range(10)]
    for content in contents:
        await world.send(content, username="stranger")  # known already, so no row changes when it is verified again
    where = await world.enterprise()
    paths = [await world.create(content) for content in contents]
    sending = [world.patch(path, 0, content) for path, content in zip(paths, contents, strict=True)]
    naming = [world.inspection(item(sha256_of(content)), enterprise_id=where) for content in contents]
    done = await asyncio.gather(*naming, *sending)
    for document in done[: len(contents)]:
        assert isinstance(document, dict)
        assert (await world.master("inspection", document["id"]))["issued_at"] is not None


async def test_readers_see_what_has_become_of_the_files_in_pages(world: World) -> None:
    image, video = photo(*SPOT), noise(1000)
    promised = item(sha256_of(video), media_type="video/mp4", size=1000)
    shown = item(sha256_of(image), position={"lon": SPOT[0], "lat": SPOT[1], "datum": "WGS84", "accuracy": 10})
    document = await world.inspection(shown, promised)
    other = await world.inspection(item(sha256_of(noise(5))))
    await world.send(image, "image/jpeg")
    first, second = sorted(await files_of(world, document, "colleague"), key=lambda told: told["state"], reverse=True)
    assert (first["state"], first["size"], first["mediaType"], first["positionCheck"]) == ("VERIFIED", len(image), "image/jpeg", "NEAR")
    assert (await world.get(first["url"], "colleague")).content == image
    assert (await world.get(first["thumbnailUrl"], "colleague")).status_code == 200
    assert (first["width"], first["height"], first["takenAt"]) == (800, 600, "2026:11:20 09:00:00")
    assert (second["state"], second["size"], second["mediaType"], second["url"]) == ("PROMISED", 1000, "video/mp4", None)
    assert await files_of(world, document, "stranger") == []
    seen, after = [], None
    while True:
        page = (await ask(world, EVIDENCE, record="inspection", ids=[document["id"], other["id"]], first=2, after=after))["evidence"]
        seen += [(told["docId"], told["itemId"]) for told in page["nodes"]]
        after = page["endCursor"]
        if not page["hasNextPage"]:
            break
    assert sorted(seen) == sorted((d["id"], named["id"]) for d in (document, other) for named in d["evidence"])
    await world.write("inspection", Sent(None, {"id": document["id"], "deleted": True}, partial=True))
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"record": "enterprise", "ids": []}, "RECORD_UNKNOWN"),
        ({"record": "inspection", "ids": ["x"]}, "VALUE_INVALID"),
        ({"record": "inspection", "ids": [document["id"]] * 201}, "LIMIT_INVALID"),
        ({"record": "inspection", "ids": [], "first": 1001}, "LIMIT_INVALID"),
        ({"record": "inspection", "ids": [], "after": "AAAA"}, "CURSOR_INVALID"),
    )
    for variables, expected in wrong:
        assert await ask(world, EVIDENCE, **variables) == expected


async def test_supervisors_see_which_documents_wait_for_files(world: World) -> None:
    contents = [noise(50), noise(50)]
    signed = await world.inspection(*(item(sha256_of(content)) for content in contents))
    draft = await world.inspection(item(sha256_of(noise(50))), state="DRAFT")
    far = await theirs(world, item(sha256_of(noise(50))))
    await world.send(contents[0])
    told: dict[str, Document] = {}
    after = None
    while True:
        page = (await ask(world, WAITING, "chief", record="Inspection", first=3, after=after))["documentsWaiting"]
        assert not told.keys() & {node["docId"] for node in page["nodes"]}
        told |= {node["docId"]: node for node in page["nodes"]}
        after = page["endCursor"]
        if not page["hasNextPage"]:
            break
    assert {name: value for name, value in told[signed["id"]].items() if name not in ("people", "devices")} == {
        "record": "inspection",
        "recordLabel": "监督检查",
        "docId": signed["id"],
        "documentLabel": "甲",
        "missing": 1,
        "awaitsIssue": True,
    }
    assert told[signed["id"]]["people"] == ["officer"]
    assert not told[draft["id"]]["awaitsIssue"]
    assert far["id"] not in told
    await world.send(contents[1])
    everything = (await ask(world, WAITING, "chief", first=1000))["documentsWaiting"]["nodes"]
    assert signed["id"] not in {node["docId"] for node in everything}
    assert await ask(world, WAITING, "officer") == "ROLE_FORBIDDEN"
