"""Tables of the map: where each placed document lies, its sums by grid cell, and how far the feed was followed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.metadata import metadata

_CODE = sa.Text(collation="C")

map_point = sa.Table(
    "map_point",
    metadata,
    sa.Column("record", _CODE, primary_key=True),
    sa.Column("doc_id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("quad", sa.BigInteger, nullable=False, comment="Morton code of x and y: a tile is a range of it"),
    sa.Column("x", sa.BigInteger, nullable=False, comment="Web Mercator, 2^30 to the round of the world"),
    sa.Column("y", sa.BigInteger, nullable=False, comment="Likewise, from the north"),
    sa.Column("area", _CODE, nullable=False),
    sa.Column("unit", _CODE, nullable=False, comment="The area's county, else the area itself"),
    sa.Column("province", _CODE),
    sa.Index("ix_map_point_quad", "record", "quad", postgresql_include=["x", "y", "doc_id", "area", "unit", "province"]),
    sa.Index("ix_map_point_area", "record", "area", "quad"),
    comment="Derived from records that have a place",
)

map_cell = sa.Table(
    "map_cell",
    metadata,
    sa.Column("record", _CODE, primary_key=True),
    sa.Column("zoom", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("scope", _CODE, primary_key=True, comment="A unit or a province of map_point"),
    sa.Column("quad", sa.BigInteger, primary_key=True, autoincrement=False, comment="Of the cell: 32 x 32 of them are a tile"),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("sum_x", sa.BigInteger, nullable=False),
    sa.Column("sum_y", sa.BigInteger, nullable=False),
    postgresql_with={"fillfactor": 90},
    comment="Sums of map_point by cell; 0 where the last one has gone",
)

map_state = sa.Table(
    "map_state",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False, server_default=sa.text("1")),
    sa.Column("epoch", sa.Text, nullable=False, comment="Of the feed"),
    sa.Column("pos", sa.BigInteger, nullable=False, comment="Of the feed; what is at or below it is placed"),
    sa.Column("fingerprint", sa.Text, nullable=False, comment="Of this program's way and of the areas; another one asks for a recompute"),
    sa.CheckConstraint("id = 1", name="ck_map_state_one_row"),
    postgresql_with={"fillfactor": 10},
)
