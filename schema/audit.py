"""Tables of the audit's hash chain. What is chained stands in `schema.feed` (sync_change) and `schema.accounts` (audit_entry)."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.metadata import metadata

_CODE = sa.Text(collation="C")

audit_chain = sa.Table(
    "audit_chain",
    metadata,
    sa.Column("area", _CODE, primary_key=True, comment="County of the entry, or the next larger area that it has; 000000 without one"),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False, comment="1, 2, 3 … in each area, without a gap"),
    sa.Column("source", _CODE, nullable=False, comment="change: sync_change, entry: audit_entry"),
    sa.Column("entry_id", sa.BigInteger, nullable=False),
    sa.Column("algorithm", sa.Text, nullable=False, comment="sha256 or sm3; a setting may change, what is chained stays"),
    sa.Column("hash", pg.BYTEA, nullable=False, comment="Of the previous hash, the place and every column of the entry: sync.chain"),
    sa.Index("ix_audit_chain_source_entry_id", "source", "entry_id", unique=True),
    comment="One chain of hashes per area over everything in the audit; insert-only",
)

audit_progress = sa.Table(
    "audit_progress",
    metadata,
    sa.Column("source", _CODE, primary_key=True),
    sa.Column("complete_to", sa.BigInteger, nullable=False, comment="Every entry with an id up to here that will ever exist is chained"),
    postgresql_with={"fillfactor": 10},
    comment="Where the next look for entries outside the chain begins",
)
