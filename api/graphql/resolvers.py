"""Queries and mutations of one record, derived: each is a small function around a plan or the write path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from inspect import Parameter, Signature
from typing import Any

import strawberry
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import RequestContext
from api.graphql.names import camel, pascal, plural
from api.graphql.passthrough import Connection, One, Pull, Rows
from api.graphql.pushed import rows_of, values
from api.graphql.select import Reader, order_keys
from api.graphql.types import CheckpointInput, RecordTypes, list_of
from geo.scope import relevant
from schema.actor import Actor, Role
from schema.base import Document, Record, Verb
from schema.problems import Problem, Refused
from schema.registry import Registry
from schema.values import canonical
from sync.conflicts import message
from sync.rows import Row, Sent, known_id
from sync.scoping import adopt_waiting
from sync.shadow import holds
from sync.store import is_data_fault
from sync.token import TokenState, decode, encode
from sync.write import apply

MOST_PULLED = 5000
MOST_PUSHED = 2000
MOST_LISTED = 1000
HALVED_FROM = 500
_TRIES = 3
_AGAIN = ("40001", "40P01")  # serialization failure, deadlock: nothing was written, so try again

Info = strawberry.Info[RequestContext, None]


class Resolvers:
    """What a record adds to Query and Mutation, by GraphQL name."""

    def __init__(self, types: RecordTypes, registry: Registry) -> None:
        self.types, self.record, self.registry = types, types.record, registry

    def queries(self) -> dict[str, Any]:
        record, types = self.record, self.types
        found = {
            camel(record.name): self._field(self.one, types.output | None, {"id": strawberry.ID}),
            plural(record): self._field(
                self.many,
                types.connection,
                {"filter": types.filter | None, "order_by": list_of(types.order) | None, "first": int, "after": str | None},
                {"filter": None, "order_by": None, "first": 50, "after": None},
            ),
        }
        if record.travels:
            arguments = {"checkpoint": CheckpointInput | None, "limit": int}
            found[f"pull{pascal(record.name)}"] = self._field(self.pull, types.pull, arguments, {"checkpoint": None})
        return found

    def mutations(self) -> dict[str, Any]:
        name, types = pascal(self.record.name), self.types
        found = {}
        writable = any(verbs & (Verb.CREATE | Verb.UPDATE) for verbs in self.record.access.values())
        if self.record.travels and writable:
            found[f"push{name}"] = self._field(self.push, list_of(types.output), {"rows": list_of(types.push_row)})
        if writable:
            found[f"save{name}"] = self._field(self.save, types.output, {"input": types.input})
        if any(verbs & Verb.DELETE for verbs in self.record.access.values()):
            found[f"delete{name}"] = self._field(self.delete, bool, {"id": strawberry.ID})
        return found

    def _field(self, resolve: Callable[..., Any], result: Any, arguments: dict[str, Any], defaults: dict[str, Any] | None = None) -> Any:
        """A Strawberry field around `resolve(info, **arguments)`, its types known only now."""

        async def resolver(info: Any, **given: Any) -> Any:
            return await resolve(info, **given)

        parameters = [Parameter("info", Parameter.POSITIONAL_OR_KEYWORD, annotation=Info)]
        parameters += [
            Parameter(name, Parameter.KEYWORD_ONLY, annotation=hint, default=(defaults or {}).get(name, Parameter.empty))
            for name, hint in arguments.items()
        ]
        resolver.__signature__ = Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]  # what Strawberry reads
        return strawberry.field(resolver=resolver, description=f"{self.record.label}：{(resolve.__doc__ or '').strip()}")

    async def one(self, info: Info, id: str) -> One:  # noqa: A002 - the argument's name in the schema
        """按编号读取。"""
        actor = self._reader(info)
        return One(self.record, actor, self.registry, info.context.database.pool, _document_id(self.record, id))

    async def many(self, info: Info, filter: Any, order_by: Any, first: int, after: str | None) -> Connection:  # noqa: A002
        """筛选、排序、分页列出。"""
        actor = self._reader(info)
        _within("first", first, MOST_LISTED)
        reader = Reader(actor, self.registry, "$1")
        order = [(each.field.value, _descending(each)) for each in order_by or ()]
        keys = order_keys(reader, self.record, order)
        where = values(filter) if filter else None
        return Connection(self.record, actor, self.registry, info.context.database.pool, where, keys, first, after)

    async def pull(self, info: Info, checkpoint: Any, limit: int) -> Pull:
        """拉取变更。"""
        actor = self._reader(info)
        _within("limit", limit, MOST_PULLED)
        key, name = info.context.accounts.keys.checkpoint, self.record.name
        state = decode(checkpoint.token, key, name) if checkpoint else None
        scopes = relevant(actor.scopes, self.record, self.registry)

        def seal(after: TokenState) -> str:
            return checkpoint.token if after == state else encode(after, key, name)

        pool, told = info.context.database.pool, _holds(info.context, actor)
        return Pull(self.record, actor, self.registry, pool, state, limit, seal, scopes, told, info.context.news)

    async def push(self, info: Info, rows: list[Any]) -> Rows:
        """推送本地修改；回答服务器现状与所发不同的行。"""
        actor = info.context.signed_in()
        sent = rows_of(info, self.record, rows)
        if len(sent) > MOST_PUSHED:
            raise Refused(Problem("PUSH_TOO_LARGE", f"一次最多推送 {MOST_PUSHED} 行，收到 {len(sent)} 行", "rows"))
        results = await self._write_beside(info, actor, *_halves(sent))
        return Rows(self.record, [_answer(self.record, actor.role, row) for row in results if _differs(self.record, actor.role, row)])

    async def save(self, info: Info, input: Any) -> One:  # noqa: A002
        """保存：只改所列字段；带 revision 时发现他人同时修改即拒绝。"""
        actor = info.context.signed_in()
        rows = await self._write(info, actor, [Sent({}, values(input), partial=True)], strict=True)
        return One(self.record, actor, self.registry, _Primary(info), rows[0].id)

    async def delete(self, info: Info, id: str) -> bool:  # noqa: A002
        """删除。"""
        actor = info.context.signed_in()
        row_id = _document_id(self.record, id)
        rows = await self._write(info, actor, [Sent({}, {"id": row_id, "deleted": True}, partial=True)], strict=True, must_exist=True)
        return bool(rows[0].changed)

    def _reader(self, info: Info) -> Actor:
        actor = info.context.signed_in()
        if not self.record.may(actor.role, Verb.READ):
            raise Refused(Problem("READ_FORBIDDEN", f"您的角色不能查看{self.record.label}"))
        return actor

    async def _write_beside(self, info: Info, actor: Actor, *parts: Sequence[Sent]) -> list[Row]:
        """Each part in a transaction of its own. When one fails, what the others wrote is a repeat once its sender tries again."""
        written = await asyncio.gather(*(self._write(info, actor, part) for part in parts), return_exceptions=True)
        rows: list[Row] = []
        for found in written:
            if isinstance(found, BaseException):
                raise found
            rows += found
        return rows

    async def _write(self, info: Info, actor: Actor, sent: Sequence[Sent], *, strict: bool = False, must_exist: bool = False) -> list[Row]:
        """Applies and commits; `strict` refuses the whole when anything was not simply taken."""
        careful = False
        for attempt in range(_TRIES):
            try:
                async with info.context.database.engine.begin() as connection:
                    rows = await self._apply(connection, info, actor, sent, careful=careful)
                    if strict:
                        _refuse_unless_taken(self.record, rows[0], must_exist=must_exist)
                break
            except DBAPIError as error:
                careful = careful or is_data_fault(error)
                again = getattr(error.orig, "sqlstate", None) in _AGAIN or is_data_fault(error)
                if not again or attempt == _TRIES - 1:
                    raise
        if self.registry.children[self.record.name] or self.record.scope.parent:
            await adopt_waiting(info.context.database.engine, self.registry)
        return rows

    async def _apply(self, connection: AsyncConnection, info: Info, actor: Actor, sent: Sequence[Sent], *, careful: bool) -> list[Row]:
        return await apply(connection, actor, self.record, sent, moment=info.context.moment, registry=self.registry, careful=careful)


class _Primary:
    """Reads what was just written from where it was written: a standby may not have it yet."""

    def __init__(self, info: Info) -> None:
        self.database = info.context.database

    async def fetchval(self, sql: str, *values: Any) -> Any:
        async with self.database.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            return await driver.fetchval(sql, *values)


def _halves(sent: Sequence[Sent]) -> list[Sequence[Sent]]:
    """A large push in two: while PostgreSQL writes one, Python works on the other. Rows with the same id stay together."""
    if len(sent) < HALVED_FROM:
        return [sent]
    middle = len(sent) // 2
    first, last = [*sent[:middle]], list[Sent]()
    named = {known_id(each) for each in first}
    for each in sent[middle:]:
        (first if known_id(each) in named else last).append(each)
    return [first, last] if last else [first]


def _holds(context: RequestContext, actor: Actor) -> Callable[[int], None]:
    """What to do when a pull has reached the head of the feed."""

    def note(pos: int) -> None:
        if context.contacts and actor.device_id:
            context.contacts.holds(actor.device_id, pos, context.now)

    return note


def _within(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise Refused(Problem("LIMIT_INVALID", f"{name} 应在 1 与 {most} 之间，收到 {value}", name))


def _descending(order: Any) -> bool:
    return order.direction not in (None, strawberry.UNSET) and order.direction.value == "DESC"


def _document_id(record: Record, text: str) -> str:
    try:
        return str(canonical(record.by_name["id"], text))
    except ValueError as error:
        raise Refused(Problem("VALUE_INVALID", f"编号（id）{error}", "id")) from None


def _refuse_unless_taken(record: Record, row: Row, *, must_exist: bool) -> None:
    if must_exist and row.before is None:
        raise Refused(Problem("NOT_IN_SCOPE", "这条记录不在您的管辖范围内，或不存在", "id"))
    if row.problems:
        raise Refused(*row.problems)
    if row.outcomes:
        labels = {column.name: column.label for column in record.all_columns}
        raise Refused(
            *(Problem(f"CONFLICT_{o.code.value.upper()}", f"{labels[o.column]}：{message(o.code)}", o.column) for o in row.outcomes)
        )


def _differs(record: Record, role: Role, row: Row) -> bool:
    """Whether the master now differs from what was sent; a new stamp that the master doesn't have is a difference too."""
    if row.after is None or not row.visible or row.problems:
        return True
    mine, master = row.edit.mine, mask(record, role, row.after)
    return ("stamp" in mine and mine["stamp"] != master.get("stamp")) or not holds(record, master, mine)


def _answer(record: Record, role: Role, row: Row) -> Document:
    if row.after is None or not row.visible:
        return {"id": row.id, "deleted": True}
    return mask(record, role, row.after)


def mask(record: Record, role: Role, document: Document) -> Document:
    """The document as a role may see it."""
    hidden = _hidden(record, role)
    return {**document, **dict.fromkeys(hidden)} if hidden else document


@cache
def _hidden(record: Record, role: Role) -> tuple[str, ...]:
    return tuple(column.name for column in record.all_columns if column.readers is not None and role not in column.readers)
