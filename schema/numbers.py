"""Tables of document numbers (文号): blocks that a device holds, and what became of each number. A number is handed out once, for good."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.metadata import metadata

number_series = sa.Table(
    "number_series",
    metadata,
    sa.Column("series", sa.Text, primary_key=True),
    sa.Column("area_code", sa.Text, primary_key=True),
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last", sa.Integer, nullable=False, comment="Handed out up to here"),
    comment="How far each series has been handed out",
)

number_block = sa.Table(
    "number_block",
    metadata,
    sa.Column("id", pg.UUID(as_uuid=False), primary_key=True),
    sa.Column("series", sa.Text, nullable=False),
    sa.Column("area_code", sa.Text, nullable=False),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("first", sa.Integer, nullable=False),
    sa.Column("last", sa.Integer, nullable=False),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("user_id", pg.UUID(as_uuid=False), nullable=False),
    sa.Column("reserved_at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.CheckConstraint("first >= 1 AND last >= first", name="ck_number_block_order"),
    sa.UniqueConstraint("series", "area_code", "year", "first", name="uq_number_block_first"),
    sa.UniqueConstraint("series", "area_code", "year", "last", name="uq_number_block_last"),
    sa.Index("ix_number_block_device_id", "device_id"),
    comment="Numbers first to last, reserved for one device",
)

number_fate = sa.Table(
    "number_fate",
    metadata,
    sa.Column("series", sa.Text, primary_key=True),
    sa.Column("area_code", sa.Text, primary_key=True),
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fate", sa.Text, nullable=False),
    sa.Column("record", sa.Text),
    sa.Column("doc_id", pg.UUID(as_uuid=False)),
    sa.Column("reason", sa.Text, comment="Why it was returned or voided"),
    sa.Column("user_id", pg.UUID(as_uuid=False), nullable=False),
    sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
    sa.CheckConstraint("fate IN ('USED', 'RETURNED', 'VOID')", name="ck_number_fate_fate"),
    sa.CheckConstraint("(fate = 'USED') = (doc_id IS NOT NULL) AND (fate = 'USED') = (reason IS NULL)", name="ck_number_fate_why"),
    comment="What became of a number: used by a document, returned unused, or void",
)
