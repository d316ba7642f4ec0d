"""Many rows into a table by COPY, geometry as WKB; or into a temporary twin of it, to be compared with what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_GEOMETRY = {
    "area": ("point", "ST_GeomFromWKB(point, 4326)"),
    "area_boundary": ("geom", "ST_Multi(ST_GeomFromWKB(geom, 4326))"),
    "area_shape": ("geom", "ST_Multi(ST_GeomFromWKB(geom, 3857))"),
}


async def copy(connection: AsyncConnection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert the rows; geometry columns hold WKB."""
    select = await _loaded(connection, table, columns, rows)
    await connection.execute(text(f"INSERT INTO {table} ({columns}) {select}"))
    await connection.execute(text("DROP TABLE loading"))


async def stage(connection: AsyncConnection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Put the rows into the temporary table `staged_<table>`, which replaces an earlier one."""
    select = await _loaded(connection, table, columns, rows)
    await connection.execute(text(f"DROP TABLE IF EXISTS staged_{table}"))
    await connection.execute(text(f"CREATE TEMPORARY TABLE staged_{table} ON COMMIT DROP AS {select}"))
    await connection.execute(text("DROP TABLE loading"))
    await connection.execute(text(f"ANALYZE staged_{table}"))


async def _loaded(connection: AsyncConnection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> str:
    """The SELECT of what has been copied into the temporary table `loading`."""
    names = [name.strip() for name in columns.split(",")]
    geometry, made = _GEOMETRY.get(table, ("", ""))
    listed = ", ".join(f"NULL::bytea AS {name}" if name == geometry else name for name in names)
    await connection.execute(text(f"CREATE TEMPORARY TABLE loading ON COMMIT DROP AS SELECT {listed} FROM {table} LIMIT 0"))
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.copy_records_to_table("loading", records=rows, columns=[name.strip('"') for name in names])
    values = ", ".join(f"{made} AS {name}" if name == geometry else name for name in names)
    return f"SELECT {values} FROM loading"
