"""Tables of administrative areas: the division tree, the jurisdiction tree, code history, boundaries.

A code is versioned: a code that went out of use keeps its row with `valid_to`, and `area_succession` says what followed it.
No foreign keys between areas: history names codes that no source describes, and the whole set is loaded in one transaction.
"""

from __future__ import annotations

from enum import StrEnum

from geoalchemy2 import Geometry
from sqlalchemy import TIMESTAMP, BigInteger, Boolean, Column, Date, Double, Identity, Index, Integer, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from schema.metadata import metadata

ROOT = "000000"
"""The country; parent of the provinces, but in no chain."""


class Level(StrEnum):
    COUNTRY = "country"
    PROVINCE = "province"  # 省级
    CITY = "city"  # 地级
    COUNTY = "county"  # 县级
    TOWNSHIP = "township"  # 乡级
    VILLAGE = "village"  # 村级
    JURISDICTION = "jurisdiction"  # 管委会、功能区: no code of GB/T 2260


class Tree(StrEnum):
    DIVISION = "division"
    JURISDICTION = "jurisdiction"


def _geometry(kind: str, srid: int = 4326) -> Geometry:
    # The index is declared beside the table, so that migrations see it under our own name.
    return Geometry(kind, srid=srid, spatial_index=False)


area = Table(
    "area",
    metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("full_name", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("tree", Text, nullable=False),
    Column("parent_code", Text),
    Column("valid_from", Date, nullable=False),
    Column("valid_to", Date, comment="First day on which the code is no longer in use; null: in use."),
    Column("chain", ARRAY(Text), nullable=False, comment="Itself, its jurisdictions, then its ancestors up to the province."),
    Column("other_codes", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="Codes of the same area in other books."),
    Column("layers", ARRAY(Text), nullable=False, comment="Levels of the map and of coverage on which it stands; each tiles the country."),
    Column("source", Text, nullable=False),
    Column("point", _geometry("POINT")),
    Column("point_source", Text),
    Column("bounds", ARRAY(Double), comment="west, south, east, north in degrees; null without a boundary."),
    Column("derived", Boolean, nullable=False, server_default=text("false"), comment="Its outline is derived, not surveyed."),
    Index("ix_area_chain", "chain", postgresql_using="gin"),
    Index("ix_area_layers", "layers", postgresql_using="gin"),
    Index("ix_area_parent_code", "parent_code"),
    Index("ix_area_other_codes", "other_codes", postgresql_using="gin"),
)

area_version = Table(
    "area_version",
    metadata,
    Column("code", Text, primary_key=True),
    Column("valid_from", Date, primary_key=True),
    Column("valid_to", Date, nullable=False),
    Column("name", Text, nullable=False),
    Column("full_name", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("tree", Text, nullable=False),
    Column("parent_code", Text),
    Column("chain", ARRAY(Text), nullable=False),
    Column("other_codes", ARRAY(Text), nullable=False),
    Column("layers", ARRAY(Text), nullable=False),
    Column("source", Text, nullable=False),
    Column("point", _geometry("POINT")),
    Column("bounds", ARRAY(Double)),
    Index("ix_area_version_chain", "chain", postgresql_using="gin"),
    comment="What `area` said of a code before it changed; never rewritten.",
)

area_succession = Table(
    "area_succession",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("old_code", Text, comment="Null: newly set up."),
    Column("new_code", Text, comment="Null: dissolved, follower unknown."),
    Column("on", Date, nullable=False, comment="First day of the new state; history knows the year only, then 31 December."),
    Column("kind", Text, nullable=False, comment="As the source names it, e.g. 撤县设区, 同名改码."),
    Column("old_name", Text),
    Column("new_name", Text),
    Column("source", Text, nullable=False),
    Index("ix_area_succession_old_code", "old_code"),
    Index("ix_area_succession_new_code", "new_code"),
)

area_boundary = Table(
    "area_boundary",
    metadata,
    Column("code", Text, primary_key=True),
    Column("valid_from", Date, primary_key=True),
    Column("valid_to", Date),
    Column("source", Text, nullable=False),
    Column("vintage", Text, nullable=False),
    Column("provenance", Text, nullable=False, comment="official or derived"),
    Column("geom", _geometry("MULTIPOLYGON"), nullable=False),
    Index("ix_area_boundary_geom", "geom", postgresql_using="gist"),
)

area_piece = Table(
    "area_piece",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("code", Text, nullable=False),
    Column("valid_from", Date, nullable=False),
    Column("valid_to", Date),
    Column("layer", Text, nullable=False, server_default="county", comment="county; township; derived: a township's, not surveyed"),
    Column("geom", _geometry("POLYGON"), nullable=False),
    # Two, so that checking a position never has to step over the derived ones.
    Index("ix_area_piece_geom", "geom", postgresql_using="gist", postgresql_where=text("layer <> 'derived'")),
    Index("ix_area_piece_derived", "geom", postgresql_using="gist", postgresql_where=text("layer = 'derived'")),
    Index("ix_area_piece_code", "code"),
    comment="Boundaries cut small, for point-in-polygon.",
)

area_shape = Table(
    "area_shape",
    metadata,
    Column("layer", Text, primary_key=True, comment="province, city or county: each layer tiles the country."),
    Column("step", Integer, primary_key=True, comment="Drawn up to this zoom; geo.gazetteer.STEPS."),
    Column("code", Text, primary_key=True),
    Column("geom", _geometry("MULTIPOLYGON", 3857), nullable=False, comment="Simplified as a coverage: neighbours share edges."),
    # Of the deepest step alone: what is drawn at the others is cut into `area_tile`.
    Index("ix_area_shape_geom", "geom", postgresql_using="gist", postgresql_where=text("step = 22")),
)

area_tile = Table(
    "area_tile",
    metadata,
    Column("layer", Text, primary_key=True),
    Column("zoom", SmallInteger, primary_key=True, autoincrement=False),
    Column("x", Integer, primary_key=True, autoincrement=False),
    Column("y", Integer, primary_key=True, autoincrement=False),
    Column("code", Text, primary_key=True),
    Column("geom", _geometry("GEOMETRY", -1), nullable=False, comment="In units of the tile, y downwards"),
    comment="What tiles of far zooms show of area_shape",
)

jurisdiction_member = Table(
    "jurisdiction_member",
    metadata,
    Column("jurisdiction_code", Text, primary_key=True),
    Column("area_code", Text, primary_key=True),
    Column("valid_from", Date, primary_key=True),
    Column("valid_to", Date),
    Column("note", Text, nullable=False, server_default="", comment="Where the membership is known from; says so if unconfirmed."),
)

area_source = Table(
    "area_source",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("loaded_at", Date, nullable=False, server_default=text("current_date")),
    comment="What the area tables were loaded from; equal versions mean that there is nothing to do.",
)

area_job = Table(
    "area_job",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False, comment="scopes: records of these areas take theirs anew; places: all positions are checked anew"),
    Column("codes", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="scopes: what is left to do"),
    Column("record", Text, comment="places: the record that is being worked through"),
    Column("after", UUID(as_uuid=False), comment="places: the last row done"),
    Column("done", BigInteger, nullable=False, server_default=text("0"), comment="Rows changed so far"),
    Column("started", Boolean, nullable=False, server_default=text("false")),
    Column("settled_at", TIMESTAMP(timezone=True), comment="A second look, once no transaction that began before this is left"),
    comment="What a change of areas still has to do to records; empty when all is done.",
)
