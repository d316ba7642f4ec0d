from datetime import date
from uuid import uuid4

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from geo import coverage as counting
from geo.coverage import AreaValue, Day
from schema.actor import Actor, Role
from schema.areas import Level, Tree
from schema.indicators import catalogue
from schema.problems import Refused
from schema.records.coordinator import RECORD
from schema.tables import table

ON = date(2026, 11, 22)
SUPERVISOR = Actor("s", "supervisor", Role.SUPERVISOR, ("220000",))
INDICATOR = catalogue().indicators["COORDINATOR-TOWNSHIPS"]


async def appoint(connection: AsyncConnection, area: str, **changed: object) -> None:
    chain = await connection.scalar(text("SELECT chain FROM area WHERE code = :area"), {"area": area})
    row = {"id": str(uuid4()), "name": "演示", "area_code": area, "status": "ACTIVE", "revision": 1, "deleted": False, "scopes": chain}
    at = {"created_at": text("now()"), "updated_at": text("now()")}
    await connection.execute(insert(table(RECORD)).values({**row, **at, **changed}))


async def coverage(
    connection: AsyncConnection, area: str, level: Level, who: Actor = SUPERVISOR, tree: Tree | None = None
) -> dict[str, AreaValue]:
    return {found.code: found for found in await counting.coverage(connection, who, INDICATOR, area, level, Day(ON), tree)}


async def test_a_township_counts_once_however_many_coordinators_it_has(areas: AsyncConnection) -> None:
    await appoint(areas, "220102001")
    await appoint(areas, "220102001")
    await appoint(areas, "220103002")
    found = await coverage(areas, "220000", Level.COUNTY)
    assert (found["220102"].numerator, found["220102"].denominator, found["220103"].numerator) == (1, 28, 1)
    assert found["220104"].value == 0
    assert sum(value.denominator or 0 for value in found.values()) == 972
    assert (await coverage(areas, "220000", Level.PROVINCE))["220000"].numerator == 2
    assert (await coverage(areas, "220102", Level.TOWNSHIP))["220102001"].value == 1


@pytest.mark.parametrize(
    "changed", [{"status": "SUSPENDED"}, {"deleted": True}, {"ended_on": date(2026, 11, 22)}, {"appointed_on": date(2026, 11, 23)}]
)
async def test_only_those_at_work_that_day_count(areas: AsyncConnection, changed: dict[str, object]) -> None:
    await appoint(areas, "220102001", **changed)
    assert (await coverage(areas, "220102", Level.COUNTY))["220102"].numerator == 0


async def test_a_jurisdiction_counts_its_towns_across_counties(areas: AsyncConnection) -> None:
    await appoint(areas, "222426102")
    found = await coverage(areas, "J220001", Level.JURISDICTION)
    assert (found["J220001"].numerator, found["J220001"].denominator) == (1, 3)
    assert (found["J220002"].value, found["J220003"].value) == (1, 0)
    assert set(await coverage(areas, "220000", Level.TOWNSHIP, tree=Tree.JURISDICTION)) == {"220621107", "220621108", "222426102"}


async def test_nothing_to_count_is_no_data_and_not_zero(areas: AsyncConnection) -> None:
    who = Actor("s", "supervisor", Role.SUPERVISOR, ("710000",))
    assert (await coverage(areas, "710000", Level.PROVINCE, who))["710000"].value is None


async def test_areas_outside_the_scopes_are_left_out(areas: AsyncConnection) -> None:
    inspector = Actor("i", "inspector", Role.INSPECTOR, ("220102",))
    assert set(await coverage(areas, "220000", Level.COUNTY, inspector)) == {"220102"}
    assert await coverage(areas, "000000", Level.COUNTRY, inspector) == {}
    assert await coverage(areas, "120000", Level.COUNTY, inspector) == {}


async def test_who_may_not_read_coordinators_is_refused(areas: AsyncConnection) -> None:
    with pytest.raises(Refused) as refused:
        await coverage(areas, "220000", Level.COUNTY, Actor("e", "enterprise", Role.ENTERPRISE, ("220000",)))
    assert refused.value.problems[0].code == "FORBIDDEN"
