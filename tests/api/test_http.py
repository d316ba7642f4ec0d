"""GraphQL over HTTP: what is answered to good, bad and hostile requests."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from api.limits import Limits
from tests.api.http_world import World, code, prepare, serving, session

GRAPHQL = "application/graphql-response+json"
JSON = {"Content-Type": "application/json"}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    await prepare(module_database_url)
    async with serving(module_database_url, tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def own_world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """For tests that count, or that break the world."""
    await prepare(database_url)
    async with serving(database_url, tmp_path) as made:
        yield made


async def test_the_media_type_follows_accept(world: World) -> None:
    for accept, media_type in (
        (GRAPHQL, GRAPHQL),
        (f"{GRAPHQL}, application/json;q=0.9", GRAPHQL),
        (f"{GRAPHQL};q=0.5, application/json", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        (f"application/json;q=0, {GRAPHQL}", GRAPHQL),
    ):
        answer = await world.client.post("/graphql", json={"query": "{ hello }"}, headers={"Accept": accept})
        assert answer.headers["content-type"] == f"{media_type}; charset=utf-8", accept
        assert answer.json() == {"data": {"hello": "hello"}}
    refused = await world.client.post("/graphql", json={"query": "{ hello }"}, headers={"Accept": "text/html"})
    assert (refused.status_code, code(refused.json())) == (406, "NOT_ACCEPTABLE")


BODIES: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"null", JSON, 400, "BAD_REQUEST"),
    (b"5", JSON, 400, "BAD_REQUEST"),
    (b'"query"', JSON, 400, "BAD_REQUEST"),
    (b"[null]", JSON, 400, "BATCHING_REFUSED"),
    (b'[{"query":"{hello}"}]', JSON, 400, "BATCHING_REFUSED"),
    (b"", JSON, 400, "BAD_JSON"),
    (b'{"query":', JSON, 400, "BAD_JSON"),
    (b'{"query":"{ hello }\xff"}', JSON, 400, "BAD_JSON"),
    (b"[" * 100_000, JSON, 400, "BAD_JSON"),
    (b'{"query":"{ hello }","operationName":"\\ud800"}', JSON, 400, "BAD_JSON"),
    (
        b'{"query":"query($v: JSON!) { json(value: $v) }","variables":{"v":' + b"[" * 500 + b"]" * 500 + b"}}",
        JSON,
        400,
        "VARIABLES_TOO_DEEP",
    ),
    (b'{"query":"{ hello }","variables":[]}', JSON, 400, "BAD_REQUEST"),
    (b'{"query":"{ hello }","variables":"{}"}', JSON, 400, "BAD_REQUEST"),
    (b'{"query":"{ hello }","extensions":5}', JSON, 400, "BAD_REQUEST"),
    (b'{"query":"{ hello }","operationName":5}', JSON, 400, "BAD_REQUEST"),
    (b'{"query":"{ hello }","operationName":"Other"}', JSON, 400, "UNKNOWN_OPERATION"),
    (b'{"query":"{ hello }","operationName":""}', JSON, 400, "UNKNOWN_OPERATION"),
    (b'{"query":"query A { hello } query B { hello }"}', JSON, 400, "OPERATION_NAME_REQUIRED"),
    (b'{"query":""}', JSON, 400, "QUERY_MISSING"),
    (b"{}", JSON, 400, "QUERY_MISSING"),
    (b'{"query":"subscription { wake }"}', JSON, 400, "SUBSCRIPTION_NEEDS_WEBSOCKET"),
    (b'{"query":"{ hello }"}', {"Content-Type": "text/plain"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (b"query=%7Bhello%7D", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (b'{"query":"{ hello }"}', {"Content-Type": "multipart/form-data; boundary=x"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (b'{"query":"{ hello }"}', {"Content-Type": "application/json; charset=gbk"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (b'{"query":"{ hello }"}', {}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (gzip.compress(b'{"query":"{ hello }"}'), {**JSON, "Content-Encoding": "gzip"}, 415, "UNSUPPORTED_ENCODING"),
]


async def test_no_body_whatever_is_a_server_error(world: World) -> None:
    for body, headers, status, expected in BODIES:
        answer = await world.client.post("/graphql", content=body, headers=headers)
        assert (answer.status_code, code(answer.json())) == (status, expected), body[:80]
        assert "data" not in answer.json()
    assert await world.ask("{ hello }") == {"data": {"hello": "hello"}}


def _wide(count: int) -> str:
    return "{ node { " + " ".join(f"a{n}: name" for n in range(count)) + " } }"


DOCUMENTS = [
    ("{ node " * 12 + "{ name }" + " }" * 12, "QUERY_TOO_DEEP"),
    ("{ node " * 5000 + "{ name }" + " }" * 5000, "QUERY_TOO_DEEP"),
    ("{ node " * 1200 + "{ name }" + " }" * 1200, "QUERY_TOO_DEEP"),
    (_wide(61), "TOO_MANY_ALIASES"),
    ("{ " + "hello " * 41 + "}", "TOO_MANY_ROOT_FIELDS"),
    ("{ node { " + "name " * 2001 + "} }", "TOO_MANY_FIELDS"),
    ("{ node { " + "name " * 5000 + "} }", "QUERY_TOO_LONG"),
    ("{ hello " + "# x\n" * 200 + "}", "QUERY_TOO_LONG"),
    ("{ hello " + " " * 70_000 + "}", "QUERY_TOO_LONG"),
    (f"{{ {'a' * 64}: hello }}", "ALIAS_TOO_LONG"),
    # A billion fields in nine fragments, and an alias hidden in one.
    (
        "{ node { ...F0 } }"
        + "".join(f" fragment F{n} on Node {{ node {{ ...F{n + 1} }} other: node {{ ...F{n + 1} }} }}" for n in range(8))
        + " fragment F8 on Node { name }",
        "TOO_MANY_ALIASES",
    ),
    ("{ node { ...F } } fragment F on Node { " + "a" * 64 + ": name }", "ALIAS_TOO_LONG"),
]


async def test_documents_over_a_limit_are_refused_before_they_cost_anything(world: World) -> None:
    for document, expected in DOCUMENTS:
        answer = await world.client.post("/graphql", json={"query": document})
        assert (answer.status_code, code(answer.json())) == (400, expected), document[:80]


async def test_documents_at_the_limit_are_served(world: World) -> None:
    for document in ("{ node " * 11 + "{ name }" + " }" * 11, _wide(60), "{ " + "hello " * 40 + "}", f"{{ {'a' * 63}: hello }}"):
        assert "errors" not in await world.ask(document)


async def test_a_fragment_inside_itself_is_a_validation_error(world: World) -> None:
    assert code(await world.ask("{ node { ...F } } fragment F on Node { node { ...F } }")) == "GRAPHQL_VALIDATION_FAILED"


async def test_refusals_of_the_language_have_codes(world: World) -> None:
    for document, variables, expected in (
        ("{ hello", None, "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", None, "GRAPHQL_VALIDATION_FAILED"),
        ("query($v: String!) { echo(value: $v) }", {"v": 5}, "BAD_USER_INPUT"),
        ("query($v: String!) { echo(value: $v) }", {}, "BAD_USER_INPUT"),
    ):
        for accept, status in ((GRAPHQL, 400), ("application/json", 200)):
            answer = await world.client.post("/graphql", json={"query": document, "variables": variables}, headers={"Accept": accept})
            assert (answer.status_code, code(answer.json())) == (status, expected)
            assert "data" not in answer.json()


async def test_a_bug_is_masked_and_its_number_stands_in_the_log_without_data(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await world.ask("{ hello boom }")
    error = answer["errors"][0]
    assert answer["data"] == {"hello": "hello", "boom": None}
    assert (error["message"], error["path"], error["extensions"]["code"]) == ("internal error", ["boom"], "INTERNAL")
    assert error["extensions"]["id"] in caplog.text
    assert "RuntimeError" in caplog.text
    assert "13800138000" not in caplog.text + json.dumps(answer)


async def test_a_refusal_carries_all_its_problems(world: World) -> None:
    error = (await world.ask("{ refused }"))["errors"][0]
    assert error["message"] == "First reason."
    assert error["extensions"] == {
        "code": "FIRST",
        "field": "phone",
        "problems": [
            {"code": "FIRST", "message": "First reason.", "field": "phone"},
            {"code": "SECOND", "message": "Second reason.", "field": ""},
        ],
    }


async def test_json_made_by_the_database_passes_through(world: World) -> None:
    assert await world.ask("{ fragment }") == {"data": {"fragment": {"as": "is"}}}


async def test_queries_may_come_by_get_and_mutations_may_not(world: World) -> None:
    query = {"query": "query($v: String!) { echo(value: $v) }", "variables": '{"v":"中"}'}
    assert (await world.client.get("/graphql", params=query)).json() == {"data": {"echo": "中"}}
    refused = await world.client.get("/graphql", params={"query": "mutation { touch }"})
    assert (refused.status_code, refused.headers["allow"], code(refused.json())) == (405, "POST", "MUTATION_NEEDS_POST")
    assert code((await world.client.get("/graphql", params={"query": "{ hello }", "variables": "{"})).json()) == "BAD_JSON"
    assert (await world.client.put("/graphql", json={})).status_code == 405


async def test_large_answers_are_compressed_for_who_accepts_it(world: World) -> None:
    query = {"query": "{ large }"}
    packed = await world.client.post("/graphql", json=query, headers={"Accept-Encoding": "gzip"})
    plain = await world.client.post("/graphql", json=query, headers={"Accept-Encoding": "identity"})
    small = await world.client.post("/graphql", json={"query": "{ hello }"}, headers={"Accept-Encoding": "gzip"})
    assert (packed.headers.get("content-encoding"), plain.headers.get("content-encoding")) == ("gzip", None)
    assert int(packed.headers["content-length"]) < 1000 < int(plain.headers["content-length"])
    assert packed.json() == plain.json()
    assert "content-encoding" not in small.headers


async def test_a_body_over_the_limit_is_refused_while_it_is_read(database_url: str, tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    await prepare(database_url)
    async with serving(database_url, tmp_path, limits=Limits(body_bytes=10_000, drain_bytes=200_000)) as world:
        announced = await world.client.post("/graphql", content=b" " * 10_001, headers=JSON)
        assert (announced.status_code, code(announced.json())) == (413, "BODY_TOO_LARGE")
        chunked = await world.client.post("/graphql", content=endless(), headers=JSON)
        assert (chunked.status_code, code(chunked.json())) == (413, "BODY_TOO_LARGE")
        assert await world.ask("{ hello }") == {"data": {"hello": "hello"}}


async def test_a_stalled_body_is_given_up(database_url: str, tmp_path: Path) -> None:
    await prepare(database_url)
    async with serving(database_url, tmp_path, limits=Limits(body_idle_seconds=0.2)) as world:
        head = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        assert b"408" in await _raw(world, head)


async def test_a_half_sent_head_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.server.HEADER_SECONDS", 0.2)
    assert await _raw(world, b"POST /graphql HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""
    assert await _raw(world, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 100_000) == b""


async def _raw(world: World, head: bytes) -> bytes:
    """Everything that the server says to `head` until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(world.url.rpartition(":")[2]))
    writer.write(head)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_in_production_only_the_signed_in_read_the_schema(database_url: str, tmp_path: Path) -> None:
    introspection = "query I { ...S } fragment S on Query { __schema { queryType { name } } }"
    await prepare(database_url)
    async with serving(database_url, tmp_path, production=True) as world:
        answer = await world.client.post("/graphql", json={"query": introspection})
        assert (answer.status_code, code(answer.json())) == (403, "INTROSPECTION_REFUSED")
        assert await world.ask("{ __typename }") == {"data": {"__typename": "Query"}}
        assert "Did you mean" not in str(await world.ask("{ hallo }"))
        token = (await session(world))["accessToken"]
        assert "data" in await world.ask("{ __schema { queryType { name } } }", token=token)


async def test_outside_production_anybody_reads_the_schema(world: World) -> None:
    assert "data" in await world.ask("{ __schema { queryType { name } } }")


async def test_health_says_whether_the_database_is_there_and_migrated(own_world: World) -> None:
    assert (await own_world.client.get("/healthz")).json() == {"status": "ok"}
    await own_world.execute("DROP TABLE IF EXISTS alembic_version")
    unready = await own_world.client.get("/readyz")
    assert (unready.status_code, unready.json()["reason"]) == (503, "database not migrated")
    await own_world.execute("CREATE TABLE alembic_version (version_num text)")
    from api.health import heads

    for head in heads() or {"0000"}:
        await own_world.execute("INSERT INTO alembic_version VALUES (:head)", head=head)
    assert (await own_world.client.get("/readyz")).status_code == 200


async def test_without_the_database_the_node_is_alive_but_not_ready(own_world: World) -> None:
    await own_world.app.state.database.engine.dispose()
    own_world.app.state.database.url = "postgresql://nobody@127.0.0.1:1/none"
    unready = await own_world.client.get("/readyz")
    assert (unready.status_code, unready.json()["reason"]) == (503, "database unreachable")
    assert (await own_world.client.get("/healthz")).status_code == 200


async def test_metrics_count_by_kind_of_operation_and_not_by_name(own_world: World) -> None:
    await own_world.ask("query Zhang { hello }")
    await own_world.client.post("/graphql", content=b"null", headers=JSON)
    own_world.app.state.metrics.observe("zhijian_feed_lag_seconds", "Lag of the feed", lambda: 1.5)
    text = (await own_world.client.get("/metrics")).text
    assert 'zhijian_graphql_requests_total{operation="query",status="2xx"} 1.0' in text
    assert 'zhijian_graphql_requests_total{operation="invalid",status="4xx"} 1.0' in text
    assert "zhijian_feed_lag_seconds 1.5" in text
    assert 'zhijian_database_connections{door="pool"} 0.0' in text
    assert "Zhang" not in text


async def test_every_answer_tells_browsers_not_to_guess_or_frame(world: World) -> None:
    for path in ("/graphql?query={hello}", "/healthz", "/nothing"):
        headers = (await world.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_a_repeated_document_is_prepared_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.ask("{ hello }")
    calls: list[Any] = []
    monkeypatch.setattr("api.documents.parse", lambda *given, **_: calls.append(given))
    assert await world.ask("{ hello }") == {"data": {"hello": "hello"}}
    assert calls == []
