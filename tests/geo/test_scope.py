from sqlalchemy import column, func, select, values
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from geo.scope import READABLE, expand_grants, in_scope, readable
from schema.actor import Actor, Role
from schema.records.coordinator import RECORD


def actor(role: Role, *scopes: str) -> Actor:
    return Actor("00000000-0000-7000-8000-000000000001", "somebody", role, scopes)


async def seen(connection: AsyncConnection, who: Actor) -> int:
    rows = values(column("scopes", ARRAY(Text)), name="coordinator").data([(["220102001", "220102", "220100", "220000"],), (["220103"],)])
    return await connection.scalar(select(func.count()).select_from(rows).where(readable(who, RECORD))) or 0


async def test_a_row_is_read_by_whom_it_belongs_to(areas: AsyncConnection) -> None:
    assert await seen(areas, actor(Role.INSPECTOR, "220102")) == 1
    assert await seen(areas, actor(Role.SUPERVISOR, "220000", "220103")) == 2
    assert await seen(areas, actor(Role.INSPECTOR, "220104")) == 0
    assert await seen(areas, actor(Role.INSPECTOR)) == 0


async def test_a_role_without_read_reads_nothing(areas: AsyncConnection) -> None:
    assert await seen(areas, actor(Role.ENTERPRISE, "220102", "220000")) == 0


def test_the_text_form_is_the_same_condition() -> None:
    assert READABLE.format(alias="t", scopes="$1::text[]") == "t.scopes && $1::text[]"


def test_in_scope_needs_one_common_scope() -> None:
    assert in_scope(actor(Role.INSPECTOR, "220102", "user:a"), ["220102001", "220102"])
    assert not in_scope(actor(Role.INSPECTOR, "220102", "user:a"), ["220103001", "220103"])
    assert not in_scope(actor(Role.INSPECTOR), ["220102"])


async def test_a_national_grant_reaches_every_province_and_not_the_root(areas: AsyncConnection) -> None:
    reached = await expand_grants(areas, ["000000"])
    assert len(reached) == 34
    assert {"110000", "220000", "710000", "820000"} <= set(reached)
    assert "000000" not in reached


async def test_a_grant_of_a_retired_code_reaches_its_follower(areas: AsyncConnection) -> None:
    assert await expand_grants(areas, ["220381"]) == ("220184", "220381")
    assert await expand_grants(areas, ["120225", "220102"]) == ("120119", "120225", "220102")


async def test_a_grant_does_not_grow_by_a_merger(areas: AsyncConnection) -> None:
    # 500157 was made from two counties: who had one must not get the other unasked.
    assert await expand_grants(areas, ["500105"]) == ("500105",)


async def test_unknown_codes_are_kept(areas: AsyncConnection) -> None:
    assert await expand_grants(areas, ["J999", "220102"]) == ("220102", "J999")
    assert await expand_grants(areas, []) == ()
