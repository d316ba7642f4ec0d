"""Tables of the change feed: history, queue, head, one row per (scope, record, document), old tombstones, what each device last wrote.

Storage parameters follow the traffic: a queue that is filled and emptied all day, an index that is rewritten with each change.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.metadata import metadata

# A queue of 5,000 rows/s leaves as many dead ones: vacuum by count and at full speed; cutting the file's tail would lock out writers.
_QUEUE = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 20000,
    "autovacuum_vacuum_cost_delay": 0,
    "autovacuum_vacuum_insert_threshold": -1,
    "vacuum_truncate": "off",
}
_REWRITTEN = {"autovacuum_vacuum_scale_factor": 0.05, "autovacuum_vacuum_cost_delay": 0, "autovacuum_analyze_scale_factor": 0.05}
# One row rewritten 20 to 50 times a second: room for HOT updates on its page, which prune themselves.
_ONE_ROW = {"fillfactor": 10, "autovacuum_vacuum_threshold": 1000, "autovacuum_vacuum_scale_factor": 0}

_CODE = sa.Text(collation="C")  # codes are compared as bytes; a language's collation is slower by a factor


def _uuid() -> pg.UUID[str]:
    return pg.UUID(as_uuid=False)


sync_change = sa.Table(
    "sync_change",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("doc_id", _uuid(), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("user_id", sa.Text),
    sa.Column("device_id", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("edited_at_ms", sa.BigInteger),
    sa.Column("changes", pg.JSONB, comment="{column: [old, new]}; null for CREATE"),
    sa.Column("area", sa.Text, comment="Of the chain in the audit: the document's county at that time; null: the country's"),
    sa.CheckConstraint("kind IN ('CREATE', 'UPDATE', 'DELETE')", name="ck_sync_change_kind"),
    sa.Index("ix_sync_change_doc_id_revision", "doc_id", "revision"),
    sa.Index("ix_sync_change_at", "at", postgresql_using="brin"),
    comment="Insert-only history of every accepted change",
)

sync_pending = sa.Table(
    "sync_pending",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("doc_id", _uuid(), nullable=False),
    sa.Column("scopes_in", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("scopes_out", pg.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    postgresql_with=_QUEUE,
    comment="Queue of committed changes that have no position yet; emptied by the stamper",
)

sync_head = sa.Table(
    "sync_head",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False, server_default=sa.text("1")),
    sa.Column("epoch", sa.Text, nullable=False),
    sa.Column("pos", sa.BigInteger, nullable=False),
    sa.Column("home", sa.Text, comment="Where the epoch began: cluster/timeline/database/table; null: not settled yet"),
    sa.Column("revision_floor", sa.Integer, nullable=False, server_default=sa.text("0"), comment="Revisions of this epoch are above it"),
    sa.Column(
        "trimmed_pos", sa.BigInteger, nullable=False, server_default=sa.text("0"), comment="Up to it tombstones are in sync_tombstone"
    ),
    sa.CheckConstraint("id = 1", name="ck_sync_head_one_row"),
    postgresql_with=_ONE_ROW,
    comment="Lineage of the database and the last position given out",
)

sync_scope_doc = sa.Table(
    "sync_scope_doc",
    metadata,
    sa.Column("doc_id", _uuid(), primary_key=True),  # first: rows of one document are written, and looked for, together
    sa.Column("scope", _CODE, primary_key=True),
    sa.Column("record", _CODE, primary_key=True),
    sa.Column("pos", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.CheckConstraint("state IN ('in', 'out')", name="ck_sync_scope_doc_state"),
    # A page of pull is read from this index alone: 0.2 ms instead of 1.2 ms per 1,000 rows (2026-11, 2 cores), at the same size.
    sa.Index("ix_sync_scope_doc_scope_record_pos", "scope", "record", "pos", postgresql_include=["doc_id", "state"]),
    sa.Index("ix_sync_scope_doc_out_pos", "pos", postgresql_where=sa.text("state = 'out'")),  # for the trimmer; nothing else is in it
    postgresql_with=_REWRITTEN,
    comment="The last position of each document in each scope that it is in, or has left",
)

sync_tombstone = sa.Table(
    "sync_tombstone",
    metadata,
    sa.Column("record", _CODE, primary_key=True),
    sa.Column("doc_id", _uuid(), primary_key=True),
    sa.Column("pos", sa.BigInteger, nullable=False, comment="Where it left the last of the scopes"),
    sa.Column("scopes", pg.ARRAY(sa.Text), nullable=False, comment="Scopes that it has left since it was made"),
    sa.Index("ix_sync_tombstone_record_pos", "record", "pos"),
    comment="Tombstones older than the retention, one row per document; for terminals that were away for longer",
)

sync_mark = sa.Table(
    "sync_mark",
    metadata,
    sa.Column("at", sa.TIMESTAMP(timezone=True), primary_key=True),
    sa.Column("pos", sa.BigInteger, nullable=False),
    comment="Where the feed was at a time, noted now and then: tells the age of a position",
)

sync_shadow = sa.Table(
    "sync_shadow",
    metadata,
    sa.Column("doc_id", _uuid(), primary_key=True),  # first, since it alone tells nearly all rows apart
    sa.Column("device_id", sa.Text, primary_key=True),
    sa.Column("record", sa.Text, primary_key=True),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("document", pg.JSONB, nullable=False),
    postgresql_with={"fillfactor": 85},
    comment="What each device last wrote; an empty document is the master at that revision, revision 0 that nothing was accepted",
)

sync_orphan = sa.Table(
    "sync_orphan",
    metadata,
    sa.Column("record", sa.Text, primary_key=True),
    sa.Column("doc_id", _uuid(), primary_key=True),
    sa.Column("parent_record", sa.Text, nullable=False),
    sa.Column("parent_id", _uuid(), nullable=False),
    sa.Index("ix_sync_orphan_parent_record_parent_id", "parent_record", "parent_id"),
    comment="Documents that arrived before the parent whose scopes they take; only their author sees them until then",
)
