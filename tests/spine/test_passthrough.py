"""The compiled path answers what the plain one would, for any selection; connections walk each row once; bad input has codes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from api.graphql.names import camel
from api.settings import ROOT
from schema.actor import Actor, Role
from schema.base import Document, Kind, Record
from schema.registry import load
from schema.values import canonical
from sync.feed import read_head
from tests.spine.spine_world import ELSEWHERE, INSIDE, World, code, person, plain, sent

pytestmark = pytest.mark.asyncio(loop_scope="session")
RECORDS = load()
PLAIN: GraphQLSchema = build_schema((ROOT / "schema" / "schema.graphql").read_text("utf-8"))
BOSS = person(Role.SUPERVISOR, INSIDE)
KNOWN: dict[str, dict[str, dict[str, Document]]] = {}
READER = person(Role.ADMIN, INSIDE)


# --- a plain path: graphql-core over dicts ------------------------------------------------------------------------------


async def fill(world: World) -> None:
    """Documents with every kind of value and null, in reach and out of it, and a tombstone."""
    if await world.rows("SELECT FROM patrol LIMIT 1"):
        return
    place = {"lon": 125.3, "lat": 43.9, "datum": "GCJ02", "accuracy": 5.5, "provider": "gps", "taken_at": "2026-11-22T03:10:55.5320+08:00"}
    full = await world.put(
        BOSS, "enterprise", name='引号" \\ 反斜\u2028\x01', location=place, hazards=["b", "a"], size="LARGE", employees=5, visits=3,
        declared_on="2026-01-02", notes=[{"id": "1", "text": "一"}, {"id": "2", "x": {"y": [1, 2.5, None]}}], area_code="220102001",
    )  # fmt: skip
    empty = await world.put(BOSS, "enterprise")
    gone = await world.put(BOSS, "enterprise")
    await world.push(BOSS, "enterprise", sent(gone, deleted=True))
    far = await world.put(person(Role.SUPERVISOR, ELSEWHERE), "enterprise", area_code=ELSEWHERE)
    helper = await world.put(BOSS, "coordinator", phone="13800138000")
    for parent in (full, empty, gone):
        await world.put(BOSS, "patrol", enterprise_id=parent["id"], coordinator_id=helper["id"], location=place, declared=True)
    stray = await world.put(BOSS, "patrol", enterprise_id=full["id"])
    await world.execute("UPDATE patrol SET enterprise_id = $1::text::uuid WHERE id = $2::text::uuid", far["id"], stray["id"])
    await world.drain()


async def documents(world: World, actor: Actor) -> dict[str, dict[str, Document]]:
    """As `_documents`, read again only when something has changed."""
    state = await world.fingerprint("enterprise", "patrol", "coordinator")
    if state not in KNOWN:
        KNOWN.clear()
        KNOWN[state] = await _documents(world, actor)
    return KNOWN[state]


async def _documents(world: World, actor: Actor) -> dict[str, dict[str, Document]]:
    """Every row that the actor may read, by record and id, as GraphQL has it: an independent reading of tables and declarations."""
    areas = {
        row["code"]: {"code": row["code"], "name": row["name"], "derived": row["derived"], "__typename": "AreaName"}
        for row in await world.rows("SELECT * FROM area")
    }
    found: dict[str, dict[str, Document]] = {}
    for name, record in RECORDS.items():
        points = "".join(
            f", ST_X({c.name}) AS {c.name}_x, ST_Y({c.name}) AS {c.name}_y" for c in record.all_columns if c.kind is Kind.POINT
        )
        rows = await world.rows(f"SELECT *{points} FROM {name} WHERE NOT deleted")
        readable = [row for row in rows if set(row["scopes"]) & set(actor.scopes)]
        found[name] = {str(row["id"]): {camel(c.name): _json(c, row) for c in record.all_columns} for row in readable}
    for name, record in RECORDS.items():
        for document in found[name].values():
            _hide_and_relate(record, actor, document, found, areas)
    return found


def _json(column: Any, row: Any) -> Any:
    value = row[column.name]
    if value is None:
        return None
    if column.kind is Kind.POINT:
        return {"type": "Point", "coordinates": [row[f"{column.name}_x"], row[f"{column.name}_y"]]}
    if column.kind in (Kind.POSITION, Kind.ITEMS, Kind.JSON):
        return orjson.loads(value)
    if column.kind is Kind.DECIMAL:
        return str(value)
    return canonical(column, value.isoformat()) if hasattr(value, "isoformat") else value if isinstance(value, (int, list)) else str(value)


def _hide_and_relate(record: Record, actor: Actor, document: Document, found: Any, areas: Mapping[str, Any]) -> None:
    hidden = {column.name for column in record.all_columns if column.readers is not None and actor.role not in column.readers}
    for column in record.all_columns:
        key = camel(column.name)
        relation = camel(column.name.removesuffix("_id").removesuffix("_code"))
        if column.kind is Kind.AREA:
            document[relation] = areas.get(document[key])
        if column.kind is Kind.REF and column.ref:
            may = actor.role in RECORDS[column.ref].access
            document[relation] = found[column.ref].get(document[key]) if may else None
        if column.name in hidden:
            document[key] = None


def run_plainly(query: str, variables: Document, root: Document) -> Any:
    result = execute_sync(PLAIN, parse(query), root_value=root, variable_values=variables)
    assert not result.errors, result.errors
    return result.data


# --- any selection ------------------------------------------------------------------------------------------------------

DIRECTIVES = st.sampled_from(["", "", "", "", " @include(if: $yes)", " @skip(if: $no)", " @include(if: $no)", " @skip(if: $yes)"])


def named(kind: Any) -> Any:
    while isinstance(kind, (GraphQLNonNull, GraphQLList)):
        kind = kind.of_type
    return kind


@st.composite
def selection(draw: st.DrawFn, kind: GraphQLObjectType, depth: int, fragments: list[str]) -> str:
    """A selection set of `kind`; named fragments that it spreads are added to `fragments`."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(["field"] * 6 + ["typename", "inline", "bare", "spread"]))
        directive = draw(DIRECTIVES)
        if how == "field":
            parts.append(draw(field(kind, depth, fragments, directive)))
        elif how == "typename":
            parts.append(draw(st.sampled_from(["", "t: "])) + "__typename" + directive)
        elif how == "spread":
            body = draw(selection(kind, depth - 1, fragments)) if depth else "{ __typename }"
            fragments.append(f"fragment F{len(fragments)} on {kind.name} {body}")
            parts.append(f"...F{len(fragments) - 1}{directive}")
        else:
            body = draw(selection(kind, depth - 1, fragments)) if depth else "{ __typename }"
            parts.append(f"...{f' on {kind.name}' if how == 'inline' else ''}{directive} {body}")
    return "{ " + " ".join(parts) + " }"


@st.composite
def field(draw: st.DrawFn, kind: GraphQLObjectType, depth: int, fragments: list[str], directive: str) -> str:
    names = [name for name, each in kind.fields.items() if depth or isinstance(named(each.type), GraphQLScalarType) or _is_leaf(each.type)]
    if not names:
        return "__typename"
    deep = [name for name in names if isinstance(named(kind.fields[name].type), GraphQLObjectType)]
    go_deeper: bool = draw(st.booleans())
    name = draw(st.sampled_from(deep if deep and go_deeper else names))
    alias = draw(st.sampled_from(["", "", f"a_{name}: ", f"_{name}_2: ", "x" * 50 + f"{name}"[:13] + ": "]))
    inner = named(kind.fields[name].type)
    body = draw(selection(inner, depth - 1, fragments)) if isinstance(inner, GraphQLObjectType) else ""
    return f"{alias}{name}{directive} {body}"


def _is_leaf(kind: Any) -> bool:
    return not isinstance(named(kind), GraphQLObjectType)


def query_of(data: st.DataObject, root: str, kind: str, arguments: str) -> str:
    fragments: list[str] = []
    target = PLAIN.type_map[kind]
    assert isinstance(target, GraphQLObjectType)
    bodies = data.draw(st.lists(selection(target, 4, fragments), min_size=1, max_size=2))
    fields = " ".join(f"r{number}: {root}{arguments} {body}" for number, body in enumerate(bodies))
    head = "$yes: Boolean!, $no: Boolean!" + (", $c: CheckpointInput" if "$c" in arguments else "")
    return f"query({head}) {{ u: __typename @include(if: $yes) @skip(if: $no) {fields} }} " + " ".join(fragments)


async def compare(world: World, query: str, variables: Document, root: Document) -> None:
    answer = await world.ask(READER, query, variables)
    assume(code(answer) not in ("TOO_MANY_ALIASES", "TOO_MANY_FIELDS"))
    assert "errors" not in answer, (query, answer)
    assert answer["data"] == run_plainly(query, variables, root), query


async def a_page(world: World, many: str, kind: str) -> Document:
    """The rows of a list in its order, by a control question."""
    nodes = (
        await world.ask(READER, f"{{ r: {many}(first: 2) {{ edges {{ cursor node {{ id }} }} totalCount pageInfo {{ hasNextPage }} }} }}")
    )["data"]["r"]
    rows = (await documents(world, READER))[kind]
    edges = [{"cursor": edge["cursor"], "node": rows[edge["node"]["id"]]} for edge in nodes["edges"]]
    info = {"hasNextPage": nodes["pageInfo"]["hasNextPage"], "hasPreviousPage": False}
    info |= {"startCursor": edges[0]["cursor"], "endCursor": edges[-1]["cursor"]}
    return {"edges": edges, "nodes": [edge["node"] for edge in edges], "totalCount": nodes["totalCount"], "pageInfo": info}


@pytest.mark.parametrize(("many", "kind", "target"), [("enterprises", "enterprise", "Enterprise"), ("patrols", "patrol", "Patrol")])
@given(data=st.data())
@settings(max_examples=50)
async def test_a_list_is_what_the_plain_path_would_answer(world: World, many: str, kind: str, target: str, data: st.DataObject) -> None:
    await fill(world)
    query = query_of(data, many, f"{target}Connection", "(first: 2)")
    await compare(world, query, {"yes": True, "no": False}, {many: await a_page(world, many, kind)})


@given(data=st.data())
@settings(max_examples=30)
async def test_one_document_is_what_the_plain_path_would_answer(world: World, data: st.DataObject) -> None:
    await fill(world)
    rows = (await documents(world, READER))["patrol"]
    for row_id in list(rows)[:2]:
        query = query_of(data, "patrol", "Patrol", f'(id: "{row_id}")')
        await compare(world, query, {"yes": True, "no": False}, {"patrol": rows[row_id]})


@pytest.mark.parametrize(("kind", "target"), [("enterprise", "Enterprise"), ("patrol", "Patrol")])
@given(data=st.data(), limit=st.sampled_from([1, 3, 100]))
@settings(max_examples=50)
async def test_a_pull_is_what_the_plain_path_would_answer(world: World, kind: str, target: str, data: st.DataObject, limit: int) -> None:
    await fill(world)
    _, start = await world.pull(READER, kind, 1)
    token = data.draw(st.sampled_from([None, start]))
    page, after = await world.pull(READER, kind, limit, token)
    rows = (await documents(world, READER))[kind]
    pull = {"documents": [rows[each["id"]] for each in page], "checkpoint": {"token": after}}
    arguments = f"(checkpoint: $c, limit: {limit})" if token else f"(limit: {limit})"
    query = query_of(data, f"pull{target}", f"{target}Pull", arguments)
    await compare(world, query, {"yes": True, "no": False, "c": {"token": token}}, {f"pull{target}": pull})


async def test_a_checkpoint_may_be_asked_for_alone(world: World) -> None:
    await fill(world)
    alone = await world.ask(READER, "{ pullEnterprise(limit: 1) { checkpoint { token } } }")
    whole = await world.ask(READER, "{ pullEnterprise(limit: 1) { a: documents { id } b: documents { name } checkpoint { token } } }")
    assert alone["data"]["pullEnterprise"]["checkpoint"] == whole["data"]["pullEnterprise"]["checkpoint"]
    assert [len(whole["data"]["pullEnterprise"][name]) for name in "ab"] == [1, 1]
    idle = await world.ask(READER, "{ pullEnterprise(limit: 1) { __typename } }")
    assert idle == {"data": {"pullEnterprise": {"__typename": "EnterprisePull"}}}


async def test_what_left_the_scope_has_an_id_and_nothing_else(world: World) -> None:
    await fill(world)
    _, token = await world.pull(READER, "enterprise", 1000)
    held = await world.put(BOSS, "enterprise")
    await world.push(BOSS, "enterprise", sent(held, deleted=True))
    await world.drain()
    query = f"query($c: CheckpointInput) {{ p: pullEnterprise(checkpoint: $c, limit: 9) {{ documents {{ t: __typename area {{ name }} {plain(RECORDS['enterprise'])} }} }} }}"  # noqa: E501 - a query in one piece
    (row,) = (await world.ask(READER, query, {"c": {"token": token}}))["data"]["p"]["documents"]
    assert {key: value for key, value in row.items() if value is not None} == {"id": held["id"], "deleted": True, "t": "Enterprise"}


# --- walking a connection -----------------------------------------------------------------------------------------------

ORDERS = ["NAME", "name", "employees", "declaredOn", "updatedAt", "areaCode", "visits", "creditCode", "revision"]
WALK = """query($f: EnterpriseFilter, $o: [EnterpriseOrder!], $n: Int!, $after: String) {
  enterprises(filter: $f, orderBy: $o, first: $n, after: $after) { nodes { id } totalCount pageInfo { hasNextPage endCursor } } }"""


async def crowd(world: World) -> None:
    """Rows with ties and NULLs in everything that one can sort by."""
    if await world.rows("SELECT FROM enterprise WHERE name LIKE 'walk%' LIMIT 1"):
        return
    await world.execute(
        """INSERT INTO enterprise (id, name, credit_code, area_code, status, employees, declared_on, visits, source, hazards,
             revision, deleted, created_at, updated_at, scopes)
           SELECT gen_random_uuid(), 'walk' || n % 3 || repeat('é', n % 2), nullif(n % 4, 0)::text, $1, 'OPERATING', nullif(n % 5, 0),
             CASE WHEN n % 3 > 0 THEN date '2026-01-01' + n % 4 END, nullif(n % 2, 0), 'DEMO', CASE WHEN n % 2 = 0 THEN ARRAY['h'] END,
             1 + n % 2, n % 11 = 0, now(), timestamptz '2026-01-01 00:00:00.5Z' + n % 3 * interval '1.000001 second', ARRAY[$1]
           FROM generate_series(1, 40) AS n""",
        INSIDE,
    )


CONDITIONS: list[tuple[Document, str]] = [
    ({}, "true"),
    ({"employees": {"gte": 2, "lt": 4}}, "employees >= 2 AND employees < 4"),
    ({"employees": {"ne": 2}}, "employees IS DISTINCT FROM 2"),
    ({"not": {"employees": {"gt": 2}}}, "coalesce(NOT employees > 2, true)"),
    ({"employees": {"isNull": True}}, "employees IS NULL"),
    ({"creditCode": {"in": ["1", "3"]}}, "credit_code IN ('1', '3')"),
    ({"hazards": {"has": "h"}}, "'h' = ANY(hazards)"),
    ({"name": {"contains": "WALK1"}}, "name LIKE 'walk1%'"),
    ({"name": {"startsWith": "walk2"}}, "name LIKE 'walk2%'"),
    ({"within": "220102"}, "scopes @> '{220102}'"),
    ({"or": [{"declaredOn": {"eq": "2026-01-02"}}, {"and": [{"status": {"eq": "OPERATING"}}, {"visits": {"isNull": False}}]}]},
     "(declared_on = '2026-01-02' OR (status = 'OPERATING' AND visits IS NOT NULL))"),
    ({"or": []}, "true"),
]  # fmt: skip


@given(
    order=st.lists(st.tuples(st.sampled_from(ORDERS[1:]), st.sampled_from(["ASC", "DESC"])), max_size=3, unique_by=lambda each: each[0]),
    condition=st.sampled_from(CONDITIONS),
    size=st.sampled_from([1, 3, 7, 50]),
)
@settings(max_examples=50)
async def test_a_walk_by_cursors_meets_every_row_once_in_order(
    world: World, order: list[tuple[str, str]], condition: tuple[Document, str], size: int
) -> None:
    await crowd(world)
    where = {"and": [{"name": {"startsWith": "walk"}}, condition[0]]}
    columns = {camel(column.name): column.name for column in RECORDS["enterprise"].all_columns}
    last = order[-1][1] if order else "ASC"
    by = ", ".join([f"{columns[name]} {direction}" for name, direction in order] + [f"id {last}"])
    rows = await world.rows(f"SELECT id::text FROM enterprise WHERE name LIKE 'walk%' AND NOT deleted AND {condition[1]} ORDER BY {by}")
    met: list[str] = []
    after = None
    while True:
        variables = {"f": where, "o": [{"field": name, "direction": direction} for name, direction in order], "n": size, "after": after}
        page = (await world.ask(BOSS, WALK, variables))["data"]["enterprises"]
        assert page["totalCount"] == len(rows)
        met += [node["id"] for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        assert len(page["nodes"]) == size
        after = page["pageInfo"]["endCursor"]
    assert met == [row[0] for row in rows]


# --- bad input has a code -----------------------------------------------------------------------------------------------


def _encoded(value: Any) -> str:
    return base64.b64encode(orjson.dumps(value)).decode()


GOOD_ID = "01a20132-3f80-7e59-a777-29cd9ef3ead8"
CURSORS = ["", "x", "é", "a" * 5000, "e30=", _encoded(5), _encoded([]), _encoded([1]), _encoded([None]), _encoded(["a", "b", "c"]), _encoded(["1"]),  # noqa: E501 - one row of a table
           _encoded(["2026", GOOD_ID]), _encoded(["", GOOD_ID]), _encoded(["x", None]), _encoded(["1", "x"]), _encoded([GOOD_ID, "1"]),
           _encoded(["9999999999999", GOOD_ID]), _encoded(["\x00", GOOD_ID]), _encoded(["NaN", GOOD_ID]), _encoded(["2026-11-22 03:00:00+00", GOOD_ID]),  # noqa: E501 - one row of a table
           _encoded([" 1", GOOD_ID]), _encoded(["1_0", GOOD_ID]), _encoded(["٣", GOOD_ID]), _encoded(["infinity", GOOD_ID]), _encoded(["220102", GOOD_ID])]  # fmt: skip  # noqa: E501 - one row of a table


@pytest.mark.parametrize("field_name", ["employees", "updatedAt", "declaredOn", "name", "areaCode", ""])
async def test_a_foreign_cursor_is_never_a_fault_of_the_server(world: World, field_name: str) -> None:
    for cursor in CURSORS:
        order = [{"field": field_name}] if field_name else []
        answer = await world.ask(BOSS, WALK, {"f": None, "o": order, "n": 5, "after": cursor})
        assert code(answer) in ("", "CURSOR_INVALID"), (cursor, answer)
        assert cursor == "" or field_name or code(answer) == "CURSOR_INVALID", cursor


@pytest.mark.parametrize("token", ["", "x", "é", "=", "AAAA", "A" * 4000, "-_-_"])
async def test_a_foreign_checkpoint_is_refused(world: World, token: str) -> None:
    query = "query($c: CheckpointInput) { pullEnterprise(checkpoint: $c, limit: 5) { documents { id } checkpoint { token } } }"
    assert code(await world.ask(BOSS, query, {"c": {"token": token}})) == "CHECKPOINT_INVALID"


async def test_a_checkpoint_of_another_record_or_with_a_changed_letter_is_refused(world: World) -> None:
    query = "query($c: CheckpointInput) { pullPatrol(checkpoint: $c, limit: 5) { checkpoint { token } } }"
    _, token = await world.pull(BOSS, "enterprise", 5)
    _, own = await world.pull(BOSS, "patrol", 5)
    changed = own[:30] + ("A" if own[30] != "A" else "B") + own[31:]
    for bad in (token, changed, own[:-4]):
        assert code(await world.ask(BOSS, query, {"c": {"token": bad}})) == "CHECKPOINT_INVALID"
    async with world.database.pool.acquire() as connection:
        assert (await read_head(connection)).epoch not in own


@pytest.mark.parametrize("limit", [0, -1, 5001, 2**31 - 1])
async def test_a_limit_out_of_range_is_refused(world: World, limit: int) -> None:
    assert code(await world.ask(BOSS, f"{{ pullEnterprise(limit: {limit}) {{ checkpoint {{ token }} }} }}")) == "LIMIT_INVALID"
    assert code(await world.ask(BOSS, f"{{ enterprises(first: {limit}) {{ totalCount }} }}")) == "LIMIT_INVALID"


WRONG: list[Document] = [
    {"declaredOn": {"eq": "yesterday"}}, {"declaredOn": {"gt": "2026-02-30"}}, {"updatedAt": {"lt": "2026-01-01"}},
    {"updatedAt": {"eq": 5}}, {"id": {"eq": "7"}}, {"id": {"in": ["x"]}}, {"areaCode": {"eq": "吉林"}}, {"within": "22"},
    {"name": {"eq": "a\x00"}}, {"name": {"contains": "\x00"}}, {"name": {"startsWith": "\x00"}}, {"hazards": {"has": "\x00"}},
    {"name": {"contains": "\ud800"}}, {"name": {"in": ["\x00"]}}, {"name": {"eq": "长" * 300}},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
async def test_a_wrong_value_in_a_filter_is_refused_with_its_field(world: World, number: int) -> None:
    answer = await world.ask(BOSS, WALK, {"f": WRONG[number], "o": None, "n": 5, "after": None})
    assert code(answer) == "VALUE_INVALID"
    assert answer["errors"][0]["extensions"]["field"]


async def test_a_filter_may_be_deep_or_empty_without_harm(world: World) -> None:
    deep: Document = {"name": {"eq": "x"}}
    for _ in range(60):
        deep = {"not": deep}
    empty: list[Document] = [deep, {}, {"name": {}}, {"name": None}, {"and": [{}]}, {"not": {}}, {"name": {"in": []}}, {"or": [{"or": []}]}]
    for where in empty:
        assert code(await world.ask(BOSS, WALK, {"f": where, "o": None, "n": 5, "after": None})) == "", where


async def test_an_alias_longer_than_a_column_name_is_refused(world: World) -> None:
    for length, expected in ((63, ""), (64, "ALIAS_TOO_LONG")):
        answer = await world.ask(BOSS, f"{{ enterprises(first: 1) {{ nodes {{ {'a' * length}: id }} }} }}")
        assert code(answer) == expected


async def test_a_document_id_that_is_none_is_refused(world: World) -> None:
    assert code(await world.ask(BOSS, '{ enterprise(id: "7") { id } }')) == "VALUE_INVALID"
    assert await world.ask(BOSS, f'{{ enterprise(id: "{GOOD_ID}") {{ id }} }}') == {"data": {"enterprise": None}}
