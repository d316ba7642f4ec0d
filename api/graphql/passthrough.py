"""The executor that lets PostgreSQL's JSON through untouched, and the plans that resolvers return to it.

A resolver returns a plan, not rows; here the selection set that graphql-core collected becomes one SQL statement, and its bytes
an `orjson.Fragment` in the answer. Leaf fields of such objects are never resolved one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql.type import GraphQLObjectType, get_named_type
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from api.graphql.names import camel
from api.graphql.select import OrderKey, Parameters, Reader, beyond, columns, condition, cursor, order_by, readable, selected
from api.news import News
from api.read_pool import Behind
from schema.actor import Actor
from schema.base import Document, Record
from schema.registry import Registry
from sync.lineage import renew_behind
from sync.pull import PageSource, holds_all, plan_page
from sync.token import TokenState

Fragment = orjson.Fragment
EMPTY = Fragment(b"[]")
HEAD_SQL = "SELECT epoch, pos, trimmed_pos FROM sync_head"


@dataclass
class Plan:
    """What to read, for whom; `complete` reads it once the selection is known."""

    record: Record
    actor: Actor
    registry: Registry
    pool: Any  # asyncpg.Pool, or anything with `fetchval`

    async def complete(self, executor: Any, object_type: GraphQLObjectType, details: Any) -> Any:
        raise NotImplementedError

    def start(self) -> tuple[Parameters, Reader, str]:
        """Parameters, reader, and the condition that every read of records starts with."""
        parameters = Parameters()
        scopes = parameters.bind(list(self.actor.scopes)) + "::text[]"
        reader = Reader(self.actor, self.registry, scopes)
        return parameters, reader, readable(reader, self.record)


@dataclass
class One(Plan):
    """One document by id, or null when there is none that the actor may read."""

    id: str

    async def complete(self, executor: Any, object_type: GraphQLObjectType, details: Any) -> Any:
        parameters, reader, seen = self.start()
        chosen = columns(executor, reader, self.record, object_type, details)
        sql = (
            f"SELECT convert_to(row_to_json(u)::text, 'UTF8') FROM {self.record.name} t CROSS JOIN LATERAL (SELECT {chosen}) u"
            f" WHERE t.id = {parameters.bind(self.id)}::text::uuid AND {seen} AND NOT t.deleted"
        )
        body = await self.pool.fetchval(sql, *parameters.values)
        return None if body is None else Fragment(body)


@dataclass
class Connection(Plan):
    """A page of a Relay connection: one statement for edges, page info and total together."""

    where: Document | None
    keys: tuple[OrderKey, ...]
    first: int
    after: str | None

    async def complete(self, executor: Any, object_type: GraphQLObjectType, details: Any) -> Any:
        parameters, reader, seen = self.start()
        matching = f"FROM {self.record.name} t WHERE {seen} AND NOT t.deleted AND {condition(reader, self.record, self.where, parameters)}"
        place = f" AND {beyond(self.keys, self.after, parameters)}" if self.after else ""
        wanted = selected(executor, object_type, details)
        parts = {name: self._part(executor, reader, object_type, field_details) for name, field_details in wanted.items()}
        total = f", total AS (SELECT count(*) AS n {matching})" if self._asks(wanted, "totalCount") else ""
        outputs = ", ".join(f'{part} AS "{name}"' for name, part in parts.items())
        sql = (
            f"WITH page AS MATERIALIZED (SELECT q.id, row_number() OVER () AS ord FROM (SELECT t.id {matching}{place}"
            f" ORDER BY {order_by(self.keys)} LIMIT {self.first + 1}) q){total}"
            f" SELECT convert_to(row_to_json(u)::text, 'UTF8') FROM (SELECT {outputs}) u"
        )
        return Fragment(await self.pool.fetchval(sql, *parameters.values))

    @staticmethod
    def _asks(wanted: Any, name: str) -> bool:
        return any(field_details[0].node.name.value == name for field_details in wanted.values())

    def _part(self, executor: Any, reader: Reader, object_type: GraphQLObjectType, details: Any) -> str:
        name = details[0].node.name.value
        if name == "__typename":
            return f"'{object_type.name}'::text"
        if name == "totalCount":
            return "(SELECT n FROM total)"
        target = object_type.fields[name].type
        while not isinstance(target, GraphQLObjectType):
            target = target.of_type
        if name == "pageInfo":
            return self._page_info(executor, target, details)
        return self._rows(executor, reader, target, details, edges=name == "edges")

    def _rows(self, executor: Any, reader: Reader, target: GraphQLObjectType, details: Any, *, edges: bool) -> str:
        chosen = self._edge(executor, reader, target, details) if edges else columns(executor, reader, self.record, target, details)
        return (
            f"(SELECT coalesce(json_agg(row_to_json(v) ORDER BY page.ord), '[]') FROM page JOIN {self.record.name} t ON t.id = page.id"
            f" CROSS JOIN LATERAL (SELECT {chosen}) v WHERE page.ord <= {self.first})"
        )

    def _edge(self, executor: Any, reader: Reader, target: GraphQLObjectType, details: Any) -> str:
        parts = []
        for response_name, sub in selected(executor, target, details).items():
            name = sub[0].node.name.value
            if name == "__typename":
                part = f"'{target.name}'::text"
            elif name == "cursor":
                part = cursor(self.keys)
            else:
                node_type = target.fields["node"].type.of_type
                part = f"(SELECT row_to_json(w) FROM (SELECT {columns(executor, reader, self.record, node_type, sub)}) w)"
            parts.append(f'{part} AS "{response_name}"')
        return ", ".join(parts)

    def _page_info(self, executor: Any, target: GraphQLObjectType, details: Any) -> str:
        rows = f"page JOIN {self.record.name} t ON t.id = page.id WHERE page.ord <= {self.first}"
        at = f"(SELECT {cursor(self.keys)} FROM {rows} ORDER BY page.ord {{}} LIMIT 1)"
        known = {
            "__typename": f"'{target.name}'::text",
            "hasNextPage": f"(SELECT count(*) > {self.first} FROM page)",
            "hasPreviousPage": "true" if self.after else "false",
            "startCursor": at.format("ASC"),
            "endCursor": at.format("DESC"),
        }
        parts = [f'{known[sub[0].node.name.value]} AS "{name}"' for name, sub in selected(executor, target, details).items()]
        return f"(SELECT row_to_json(v) FROM (SELECT {', '.join(parts)}) v)"


@dataclass
class Pull(Plan):
    """A page of the change feed with the checkpoint after it."""

    state: TokenState | None
    limit: int
    seal: Callable[[TokenState], str]
    scopes: Sequence[str] = field(default=())
    at_head: Callable[[int], None] = field(default=lambda pos: None)  # hears of the head when the page is the last one
    news: News | None = None  # shared by the pulls of the request

    async def complete(self, executor: Any, object_type: GraphQLObjectType, details: Any) -> Any:
        wanted = selected(executor, object_type, details)
        lists = [name for name, sub in wanted.items() if sub[0].node.name.value == "documents"]
        target = object_type.fields["documents"].type.of_type.of_type.of_type if lists else None
        selections = [(target, wanted[name]) for name in lists]
        if self.state is not None and await self._nothing_new(self.state):
            return self._answer(executor, object_type, wanted, dict.fromkeys(lists, EMPTY), self.seal(self.state))
        try:
            bodies, token = await self.pool.read(lambda connection: self._page(connection, executor, selections))
        except Behind:
            bodies, token = await self._gone_back(executor, selections)
        return self._answer(executor, object_type, wanted, dict(zip(lists, bodies, strict=True)), self.seal(token))

    async def _nothing_new(self, state: TokenState) -> bool:
        if self.news is None or not holds_all(state, self.scopes):
            return False
        head = await self.news.head_if_nothing_new(self.record.name, state)
        if head is not None:
            self.at_head(head)
        return head is not None

    async def _page(self, connection: Any, executor: Any, selections: Sequence[tuple[Any, Any]]) -> tuple[list[Fragment], TokenState]:
        """The page's documents once for each selection, and the checkpoint after it. Raises Behind."""
        head = await connection.fetchrow(HEAD_SQL)
        assert head is not None  # written by the first stamper
        if self.state is not None and self.state.epoch == head["epoch"] and self.state.pos > head["pos"]:
            raise Behind
        plan = plan_page(self.state, self.scopes, self.limit, head["epoch"], head["pos"], head["trimmed_pos"])
        if plan.idle:
            self.at_head(head["pos"])
            return [EMPTY] * len(selections), plan.state
        parameters, reader, seen = self.start()
        source = plan.source(self.record.name, first=len(parameters.values) + 1)
        aggregates = [self._documents(executor, reader, target, details) for target, details in selections]
        row = await connection.fetchrow(self._sql(source, aggregates, seen), *parameters.values, *source.args)
        assert row is not None  # an aggregate without GROUP BY has one row
        if row[2] > head["trimmed_pos"]:  # tombstones went between the two statements, and this page may lack them
            return await self._page(connection, executor, selections)
        bodies = [EMPTY if body is None else Fragment(body) for body in row[3:]]
        if row[1] < self.limit:
            self.at_head(head["pos"])
        return bodies, source.next_state(row[0], row[1])

    async def _gone_back(self, executor: Any, selections: Sequence[tuple[Any, Any]]) -> tuple[list[Fragment], TokenState]:
        """The page from a primary that has not reached what it gave out before: its epoch ends."""
        assert self.state is not None  # nobody else can be ahead
        async with self.pool.acquire() as connection:
            await renew_behind(connection, self.state.epoch, self.state.pos)
            return await self._page(connection, executor, selections)

    def _sql(self, source: PageSource, aggregates: Sequence[tuple[str, str]], seen: str) -> str:
        laterals = "".join(f" CROSS JOIN LATERAL (SELECT {chosen}) u{n}" for n, (chosen, _) in enumerate(aggregates))
        outputs = "".join(
            f", convert_to('[' || string_agg(CASE WHEN readable.yes THEN row_to_json(u{n})::text ELSE {gone} END, ',' ORDER BY d.ord)"
            " || ']', 'UTF8')"
            for n, (_, gone) in enumerate(aggregates)
        )
        return (
            f"SELECT max(d.ord), count(*), (SELECT trimmed_pos FROM sync_head){outputs}"
            f" FROM ({source.sql}) d LEFT JOIN {self.record.name} t ON t.id = d.doc_id"
            f" CROSS JOIN LATERAL (SELECT coalesce({seen} AND NOT t.deleted, false) AS yes) readable{laterals}"
        )

    def _documents(self, executor: Any, reader: Reader, target: GraphQLObjectType, details: Any) -> tuple[str, str]:
        """The SELECT list of a readable document, and the JSON text of one that is gone."""
        chosen = columns(executor, reader, self.record, target, details)
        blank: dict[str, Any] = {}
        for name, sub in selected(executor, target, details).items():
            field_name = sub[0].node.name.value
            blank[name] = {"id": "\x01", "deleted": True, "__typename": target.name}.get(field_name)
        text = orjson.dumps(blank).decode().replace("'", "''").replace("\\u0001", "' || d.doc_id || '")
        return chosen, f"'{text}'"

    @staticmethod
    def _answer(executor: Any, object_type: GraphQLObjectType, wanted: Any, lists: dict[str, Any], token: str) -> Document:
        answer: Document = {}
        for name, details in wanted.items():
            field_name = details[0].node.name.value
            if field_name == "documents":
                answer[name] = lists[name]
            elif field_name == "__typename":
                answer[name] = object_type.name
            else:
                target = object_type.fields["checkpoint"].type.of_type
                values = {"token": token, "__typename": target.name}
                answer[name] = {key: values[sub[0].node.name.value] for key, sub in selected(executor, target, details).items()}
        return answer


@dataclass(frozen=True)
class Rows:
    """Documents that are already in memory, in JSON form and masked for their reader; relations are null."""

    record: Record
    documents: Sequence[Document]

    def complete(self, executor: Any, object_type: GraphQLObjectType, details: Any) -> list[Document]:
        keys = {camel(column.name): column.name for column in self.record.all_columns}
        names = {name: sub[0].node.name.value for name, sub in selected(executor, object_type, details).items()}
        return [{name: self._value(document, object_type, field, keys) for name, field in names.items()} for document in self.documents]

    @staticmethod
    def _value(document: Document, object_type: GraphQLObjectType, field_name: str, keys: dict[str, str]) -> Any:
        return object_type.name if field_name == "__typename" else document.get(keys.get(field_name, ""))


@dataclass(frozen=True)
class Ready:
    """A list of what is in memory, with one function per GraphQL field that reads it: nothing is resolved field by field.

    A function for an object gives a mapping by field name; a function is called for what was selected alone.
    """

    rows: Sequence[Any]
    readers: Mapping[str, Callable[[Any], Any]]

    def complete(self, executor: Any, object_type: GraphQLObjectType, details: Any) -> list[Document]:
        wanted = selected(executor, object_type, details)
        readers = [(name, self._reader(executor, object_type, sub)) for name, sub in wanted.items()]
        return [{name: read(row) for name, read in readers} for row in self.rows]

    def _reader(self, executor: Any, object_type: GraphQLObjectType, details: Any) -> Callable[[Any], Any]:
        name = details[0].node.name.value
        if name == "__typename":
            return lambda row: object_type.name
        read, inner = self.readers[name], get_named_type(object_type.fields[name].type)
        if not isinstance(inner, GraphQLObjectType):
            return read
        keys = {key: sub[0].node.name.value for key, sub in selected(executor, inner, details).items()}
        return lambda row: {key: inner.name if field == "__typename" else read(row)[field] for key, field in keys.items()}


class PassthroughExecutor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor, but a plan is completed by SQL."""

    def complete_list_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        if type(result) is Rows or type(result) is Ready:
            return result.complete(self, _named(return_type), field_details_list)
        return super().complete_list_value(return_type, field_details_list, info, path, result, position_context)

    def complete_object_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        if isinstance(result, Plan):
            return result.complete(self, return_type, field_details_list)
        return super().complete_object_value(return_type, field_details_list, info, path, result, position_context)


def _named(graphql_type: Any) -> GraphQLObjectType:
    while not isinstance(graphql_type, GraphQLObjectType):
        graphql_type = graphql_type.of_type
    return graphql_type
