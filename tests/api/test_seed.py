import io
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from rich.console import Console
from shapely.geometry import MultiPolygon, Point, box
from sqlalchemy.ext.asyncio import AsyncEngine

from api import seed
from api.demo_data import BLOCK, Batch, Demo
from api.passwords import matches
from api.settings import Settings
from schema import registry

COUNTIES = {"220102": 125.0, "220103": 126.0}
PEOPLE = frozenset({"coordinator", "rehab_site", "patient"})


@pytest.fixture
async def areas_url(database_url: str) -> str:
    """A database with a province of two square counties of ten townships each."""
    connection = await asyncpg.connect(database_url)
    await connection.executemany(AREA, [_area(*row) for row in _areas()])
    await connection.executemany(
        BOUNDARY, [(code, MultiPolygon([box(west, 43.0, west + 0.5, 43.5)]).wkb) for code, west in COUNTIES.items()]
    )
    await connection.close()
    return database_url


AREA = """INSERT INTO area (code, name, full_name, level, tree, parent_code, valid_from, chain, layers, source)
VALUES ($1, $1, $1, $2, 'division', $3, '2000-01-01', $4, '{}', 'test')"""
BOUNDARY = """INSERT INTO area_boundary (code, valid_from, source, vintage, provenance, geom)
VALUES ($1, '2000-01-01', 'test', 'test', 'derived', ST_SetSRID(ST_GeomFromWKB($2), 4326))"""


def _areas() -> list[tuple[str, str, list[str]]]:
    townships = [("township", f"{county}{number:03d}", [county, "220100", "220000"]) for county in COUNTIES for number in range(100, 110)]
    counties = [("county", county, ["220100", "220000"]) for county in COUNTIES]
    return [("province", "220000", []), ("city", "220100", ["220000"]), *counties, *townships]


def _area(level: str, code: str, above: list[str]) -> tuple[str, str, str, list[str]]:
    return code, level, above[0] if above else "000000", [code, *above]


async def fill(url: str, enterprises: int, number: int = 3) -> str:
    said = io.StringIO()
    await seed.fill(url, enterprises, number, Console(file=said))
    return said.getvalue()


async def count(engine: AsyncEngine, table: str, where: str = "true") -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(sa.text(f"SELECT count(*) FROM {table} WHERE {where}")) or 0)


async def everything(engine: AsyncEngine) -> dict[str, list[tuple[object, ...]]]:
    """All that the seed wrote, without the moment at which it did."""
    found = {}
    async with engine.connect() as connection:
        for name, record in registry.load().items():
            own = ", ".join(column.name for column in record.all_columns if column.name not in ("created_at", "updated_at"))
            found[name] = [tuple(row) for row in await connection.execute(sa.text(f"SELECT {own}, scopes FROM {name} ORDER BY id"))]
    return found


async def test_every_record_arrives_with_feed_and_history(areas_url: str, engine: AsyncEngine) -> None:
    await fill(areas_url, 1200)
    counts = {name: await count(engine, name) for name in registry.load()}
    assert counts.pop("sync_conflict") == 0
    assert counts["enterprise"] == 1200
    assert all(counts.values())
    total = sum(counts.values())
    assert await count(engine, "sync_change", "kind = 'CREATE'") == await count(engine, "sync_change") == total
    assert await count(engine, "sync_pending") == 0
    assert await count(engine, "(SELECT DISTINCT record, doc_id FROM sync_scope_doc WHERE state = 'in') AS placed") == total


async def test_scopes_follow_the_area_and_the_parent(areas_url: str, engine: AsyncEngine) -> None:
    await fill(areas_url, 1000)
    assert await count(engine, "enterprise", "NOT scopes @> ARRAY['220000', left(area_code, 6), area_code, 'enterprise:' || id]") == 0
    assert (
        await count(
            engine, "exposure e JOIN workplace w ON w.id = workplace_id JOIN enterprise p ON p.id = enterprise_id", "e.scopes <> p.scopes"
        )
        == 0
    )
    assert await count(engine, "enterprise", "location_wgs84 IS NULL") == 0


async def test_twice_is_once(areas_url: str, engine: AsyncEngine) -> None:
    await fill(areas_url, 1200)
    before, changes = await everything(engine), await count(engine, "sync_change")
    assert "already" in await fill(areas_url, 1200)
    assert await everything(engine) == before
    assert await count(engine, "sync_change") == changes


async def test_it_grows_by_what_is_missing(areas_url: str, engine: AsyncEngine) -> None:
    await fill(areas_url, 300)
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE enterprise SET remark = 'somebody was here', revision = 2"))
    await fill(areas_url, BLOCK + 200)
    assert await count(engine, "enterprise") == BLOCK + 200
    assert await count(engine, "enterprise", "remark = 'somebody was here' AND revision = 2") == 300
    assert await count(engine, "sync_conflict") == 0


async def test_an_interrupted_run_goes_on_to_the_same_end(areas_url: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Demo, number: int, enterprises: int) -> list[Batch]:
        if number == 1:
            raise KeyError("the power is gone")
        return whole(self, number, enterprises)

    whole = Demo.block
    monkeypatch.setattr(Demo, "block", broken)
    with pytest.raises(KeyError):
        await fill(areas_url, 2 * BLOCK)
    assert await count(engine, "enterprise") <= BLOCK
    monkeypatch.setattr(Demo, "block", whole)
    await fill(areas_url, 2 * BLOCK)
    assert await count(engine, "enterprise") == 2 * BLOCK
    assert await count(engine, "user_account") == 11


async def test_a_refused_document_writes_nothing_and_is_named(areas_url: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Demo.block

    def spoilt(self: Demo, number: int, enterprises: int) -> list[Batch]:
        made = whole(self, number, enterprises)
        made[0][1][5]["credit_code"] = "123"
        return made

    monkeypatch.setattr(Demo, "block", spoilt)
    with pytest.raises(seed.SeedError, match="CREDIT_CODE_INVALID"):
        await fill(areas_url, 100)
    assert await count(engine, "enterprise") == await count(engine, "sync_conflict") == 0


async def test_accounts_have_the_promised_roles_and_grants(areas_url: str, engine: AsyncEngine) -> None:
    await fill(areas_url, 100)
    async with engine.connect() as connection:
        rows = (
            await connection.execute(
                sa.text(
                    "SELECT username, role, scope, password_hash, active, demo FROM user_account a JOIN user_grant g ON g.user_id = a.id"
                )
            )
        ).all()
        coordinators = await connection.execute(sa.text("SELECT username, area_code FROM coordinator WHERE username IS NOT NULL"))
        townships = {row.username: row.area_code for row in coordinators}
        site = await connection.scalar(sa.text("SELECT id FROM rehab_site WHERE kind = 'STATION' AND status = 'OPEN' LIMIT 1"))
    found = {row.username: (row.role, row.scope) for row in rows}
    rehab = found.pop("rehab1")
    assert found == {
        "admin": ("ADMIN", "000000"),
        "province": ("SUPERVISOR", "220000"),
        "changchun": ("SUPERVISOR", "220100"),
        "inspector1": ("INSPECTOR", "220102"),
        "inspector2": ("INSPECTOR", "220102"),
        "inspector3": ("INSPECTOR", "220103"),
        "coordinator1": ("COORDINATOR", townships["coordinator1"]),
        "coordinator2": ("COORDINATOR", townships["coordinator2"]),
        "cdc1": ("CDC", "220000"),
        "seed": ("SUPERVISOR", "220000"),
    }
    assert {name: code[:6] for name, code in townships.items()} == {"coordinator1": "220102", "coordinator2": "220103"}
    assert rehab[0] == "REHAB"
    assert rehab[1].startswith("site:")
    assert site is not None
    assert all(row.demo for row in rows)
    assert [row.username for row in rows if not row.active] == ["seed"]
    hashes = {row.password_hash for row in rows if row.active}
    assert len(hashes) == 1
    assert await matches(seed.PASSWORD, hashes.pop())
    assert not await matches(seed.PASSWORD, next(row.password_hash for row in rows if not row.active))


async def test_accounts_that_are_there_keep_their_password_and_grants(areas_url: str, engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            sa.text("INSERT INTO user_account (id, username, password_hash, role) VALUES (gen_random_uuid(), 'admin', 'mine', 'ADMIN')")
        )
    await fill(areas_url, 100)
    assert await count(engine, "user_account", "username = 'admin' AND password_hash = 'mine'") == 1
    assert await count(engine, "user_grant g JOIN user_account a ON a.id = g.user_id", "username = 'admin'") == 0


def test_without_areas_the_verb_says_what_to_do(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert seed.main(Settings(database_url=database_url, data=tmp_path), ["--enterprises", "10"]) == 1
    assert "python -m api areas" in capsys.readouterr().err


def test_spots_lie_well_inside_and_are_the_same_each_time() -> None:
    boundary = box(125.0, 43.0, 125.5, 43.5).wkb
    found = seed._spots("220102", boundary)
    assert found == seed._spots("220102", boundary)
    assert len(found) == seed.SPOTS
    assert all(125.0 + seed.INSIDE <= lon <= 125.5 - seed.INSIDE and 43.0 + seed.INSIDE <= lat <= 43.5 - seed.INSIDE for lon, lat in found)
    tiny = box(125.0, 43.0, 125.001, 43.001)
    assert all(tiny.contains_properly(point) for point in map(Point, seed._spots("220102", tiny.wkb)))
    assert seed._spots("500157", None) == []
