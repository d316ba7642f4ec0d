"""Tables derived from the declarations, in SQLAlchemy Core."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql as pg

from schema import registry
from schema.base import Column, Kind, Record
from schema.metadata import metadata

_TYPES: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.ID: pg.UUID(as_uuid=False),
    Kind.REF: pg.UUID(as_uuid=False),
    Kind.TEXT: sa.Text(),
    Kind.INTEGER: sa.Integer(),
    Kind.DECIMAL: sa.Numeric(),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.DATE: sa.Date(),
    Kind.TIMESTAMP: sa.TIMESTAMP(timezone=True),
    Kind.ENUM: sa.Text(),
    Kind.AREA: sa.Text(),
    Kind.POSITION: pg.JSONB(),
    Kind.POINT: Geometry("POINT", srid=4326, spatial_index=False),
    Kind.TAGS: pg.ARRAY(sa.Text()),
    Kind.ITEMS: pg.JSONB(),
    Kind.JSON: pg.JSONB(),
}
_ALWAYS = frozenset({"id", "revision", "deleted", "created_at", "updated_at"})


def table(record: Record) -> sa.Table:
    """The record's table; `scopes` holds every scope string that the row belongs to."""
    known = metadata.tables.get(record.name)
    if known is not None:
        return known
    columns = [_column(column) for column in record.all_columns]
    scopes: sa.Column[list[str]] = sa.Column("scopes", pg.ARRAY(sa.Text()), nullable=False)
    return sa.Table(record.name, metadata, *columns, scopes, *_indexes(record), comment=record.label)


def _column(column: Column) -> sa.Column[Any]:
    return sa.Column(
        column.name,
        _TYPES[column.kind],
        primary_key=column.kind is Kind.ID,
        nullable=not (column.required or column.name in _ALWAYS),
        comment=column.label,
    )


def _indexes(record: Record) -> list[sa.Index]:
    """Areas need none of their own: `scopes` holds the whole chain."""
    plain = [column for column in record.columns if column.indexed or column.kind is Kind.REF]
    place = record.layer and record.place
    placed = [sa.Index(f"ix_{record.name}_place", f"{place}_wgs84", postgresql_using="gist")] if place else []
    waiting = [sa.Index(f"ix_{record.name}_waiting", "id", postgresql_where=sa.text("issued_at IS NULL"))] if record.issued_when else []
    return [
        sa.Index(f"ix_{record.name}_scopes", "scopes", postgresql_using="gin"),
        *(sa.Index(f"ix_{record.name}_{column.name}", column.name, "id") for column in plain),
        *placed,
        *waiting,
    ]


TABLES = {record.name: table(record) for record in registry.load().values()}
