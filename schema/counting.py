"""Tables of the indicators: how much there is on which day, the counts of today, how far the feed was followed, and targets."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.metadata import metadata

_CODE = sa.Text(collation="C")


def _uuid() -> pg.UUID[str]:
    return pg.UUID(as_uuid=False)


indicator_fact = sa.Table(
    "indicator_fact",
    metadata,
    sa.Column("measure", _CODE, nullable=False, comment="Measure; of an event with @Y, @Q, @M for its year, quarter, month"),
    sa.Column("doc_id", _uuid(), nullable=False),
    sa.Column("unit_id", _uuid(), comment="What is counted, once; null: the document itself"),
    sa.Column("area", _CODE, nullable=False, comment="The smallest that is known"),
    sa.Column("starts", sa.Date, nullable=False),
    sa.Column("ends", sa.Date, nullable=False, comment="First day on which it no longer counts"),
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Index("ix_indicator_fact_measure_area_doc_id", "measure", "area", "doc_id"),
    sa.Index("ix_indicator_fact_doc_id", "doc_id"),
    sa.Index("ix_indicator_fact_unit_id", "unit_id", "measure", postgresql_where=sa.text("unit_id IS NOT NULL")),
    comment="Of measures that count persons, derived from records and their history: who counts where, from when until when",
)

indicator_curve = sa.Table(
    "indicator_curve",
    metadata,
    sa.Column("measure", _CODE, primary_key=True, comment="As in indicator_fact"),
    sa.Column("area", _CODE, primary_key=True, comment="The smallest that is known"),
    sa.Column("days", pg.ARRAY(sa.Date), nullable=False, comment="In their order; the first may be -infinity"),
    sa.Column("totals", pg.ARRAY(sa.BigInteger), nullable=False, comment="What there is from each of these days on"),
    comment="Derived from records and their history: how much of a measure there is in an area, on any day",
)

indicator_past = sa.Table(
    "indicator_past",
    metadata,
    sa.Column("doc_id", _uuid(), primary_key=True),
    sa.Column("link", _CODE, primary_key=True, comment="Area or parent that it once had"),
    sa.Column("record", _CODE, nullable=False),
    sa.Index("ix_indicator_past_link", "link"),
    comment="Where documents were before: there they count on past days",
)

indicator_count = sa.Table(
    "indicator_count",
    metadata,
    sa.Column("measure", _CODE, primary_key=True),
    sa.Column("area", _CODE, primary_key=True, comment="Every area of the chains, the country too"),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("wide", sa.Boolean, nullable=False, comment="Whether the area stands on a level above the townships"),
    # A map of the country's counties reads some thousand of these in a row, and no township between them.
    sa.Index("ix_indicator_count_wide", "measure", "area", postgresql_include=["n"], postgresql_where=sa.text("wide")),
    postgresql_with={"fillfactor": 80},
    comment="What counts on the day of indicator_state",
)

indicator_state = sa.Table(
    "indicator_state",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False, server_default=sa.text("1")),
    sa.Column("epoch", sa.Text, nullable=False, comment="Of the feed"),
    sa.Column("pos", sa.BigInteger, nullable=False, comment="Of the feed; what is at or below it is counted"),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False, comment="Of the declarations and the areas; another one asks for a recompute"),
    sa.CheckConstraint("id = 1", name="ck_indicator_state_one_row"),
    postgresql_with={"fillfactor": 10},
)

indicator_secret = sa.Table(
    "indicator_secret",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False, server_default=sa.text("1")),
    sa.Column("secret", sa.LargeBinary, nullable=False, comment="Decides how counts of persons are rounded; never published"),
    sa.CheckConstraint("id = 1", name="ck_indicator_secret_one_row"),
)

indicator_target = sa.Table(
    "indicator_target",
    metadata,
    sa.Column("indicator", _CODE, primary_key=True),
    sa.Column("area", _CODE, primary_key=True),
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("op", sa.Text, nullable=False),
    sa.Column("value", sa.Numeric, nullable=False, comment="0 to 1 for a share"),
    sa.Column("scope", sa.Text, nullable=False, server_default=""),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("confidence", sa.Text, nullable=False),
    sa.Column("set_by", _uuid(), comment="Null: loaded from schema/catalogue"),
    sa.Column("set_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    sa.CheckConstraint("op IN ('>=', '=', '<=')", name="ck_indicator_target_op"),
    comment="What is aimed at; holds for the areas below that have none of their own",
)
