"""Tables of files: content by hash, the items of records that promise it, and uploads on their way.

The bytes lie in the store (`sync.vault`); these rows say which of them count.
"""

from __future__ import annotations

import sqlalchemy as sa
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql as pg

from schema.metadata import metadata


def _uuid() -> pg.UUID[str]:
    return pg.UUID(as_uuid=False)


def _moment() -> sa.TIMESTAMP:
    return sa.TIMESTAMP(timezone=True)


_HASH = sa.Text(collation="C")

evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("sha256", _HASH, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, comment="PROMISED by a record or an upload, RECEIVED whole, VERIFIED against its hash"),
    sa.Column("size", sa.BigInteger, comment="Bytes; of a verified file measured, before as promised"),
    sa.Column("media_type", sa.Text),
    sa.Column("promised_at", _moment(), nullable=False, server_default=sa.func.now()),
    sa.Column("received_at", _moment()),
    sa.Column("verified_at", _moment()),
    sa.Column("width", sa.Integer, comment="Pixels, images only"),
    sa.Column("height", sa.Integer),
    sa.Column("thumbnail", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("image_problem", sa.Text, comment="Why an image has no thumbnail"),
    sa.Column("exif_taken_at", sa.Text, comment="As the camera wrote it; cameras know no time zone"),
    sa.Column("exif_wgs84", Geometry("POINT", srid=4326, spatial_index=False)),
    sa.Column("kept", sa.Boolean, nullable=False, server_default=sa.false(), comment="An issued document named it once: never collected"),
    sa.Column("unnamed_since", _moment(), comment="When the collector first found that no document names it"),
    sa.Column("collected_at", _moment(), comment="Its bytes are being thrown away; nobody may rely on them any more"),
    sa.CheckConstraint("state IN ('PROMISED', 'RECEIVED', 'VERIFIED')", name="ck_evidence_state"),
    sa.Index("ix_evidence_unnamed_since", "unnamed_since", postgresql_where=sa.text("unnamed_since IS NOT NULL")),
    sa.Index("ix_evidence_collected_at", "collected_at", postgresql_where=sa.text("collected_at IS NOT NULL")),
    comment="Files by their content, whoever promised or sent them",
)

evidence_proof = sa.Table(
    "evidence_proof",
    metadata,
    sa.Column("sha256", _HASH, primary_key=True),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("at", _moment(), nullable=False, server_default=sa.func.now()),
    comment="Who has shown that they hold a file, by sending all of it",
)

evidence_item = sa.Table(
    "evidence_item",
    metadata,
    sa.Column("record", sa.Text, primary_key=True),
    sa.Column("doc_id", _uuid(), primary_key=True),
    sa.Column("field", sa.Text, primary_key=True, comment="Column of the record"),
    sa.Column("item_id", sa.Text, primary_key=True),
    sa.Column("sha256", _HASH, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False, comment="Who promised it"),
    sa.Column("device_id", sa.Text),
    sa.Column("promised_at", _moment(), nullable=False),
    sa.Column("device_wgs84", Geometry("POINT", srid=4326, spatial_index=False), comment="Where the device was, else where the record is"),
    sa.Column("accuracy", sa.Float, comment="Metres"),
    sa.Column("distance", sa.Float, comment="Metres between the device's position and the image's"),
    sa.Column("position_check", sa.Text, comment="NEAR, FAR, NO_IMAGE_POSITION or NO_DEVICE_POSITION; null until verified"),
    sa.Column(
        "proven",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="Whoever named the file here holds it or could read it; only then does the document show it",
    ),
    sa.Index("ix_evidence_item_sha256", "sha256"),
    sa.Index("ix_evidence_item_unproven", "record", "doc_id", postgresql_where=sa.text("NOT proven")),
    comment="Which item of which record promises which file",
)

upload = sa.Table(
    "upload",
    metadata,
    sa.Column("id", _uuid(), primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("device_id", sa.Text, nullable=False, comment="Only this device may go on with it"),
    sa.Column("sha256", _HASH, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False, comment="Upload-Metadata as it came"),
    sa.Column("state", sa.Text, nullable=False, server_default="RECEIVING"),
    sa.Column("created_at", _moment(), nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _moment(), nullable=False, comment="Moves on with each byte that arrives"),
    sa.Column("writer", _uuid(), comment="The request that writes; the row is its lock"),
    sa.Column("writer_until", _moment(), comment="After this another request may take over"),
    sa.CheckConstraint("state IN ('RECEIVING', 'VERIFIED', 'FAILED', 'EXPIRED')", name="ck_upload_state"),
    sa.CheckConstraint("received BETWEEN 0 AND length", name="ck_upload_received"),
    sa.Index("ix_upload_user_id", "user_id"),
    sa.Index("ix_upload_sha256", "sha256"),
    sa.Index("ix_upload_expires_at", "expires_at"),
    comment="Files on their way (tus)",
)

upload_piece = sa.Table(
    "upload_piece",
    metadata,
    sa.Column("upload_id", _uuid(), sa.ForeignKey("upload.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True, comment="Offset of its first byte"),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("key", sa.Text, nullable=False, comment="Where its bytes lie in the store"),
    comment="The bytes of an upload that count, in the order of their offsets",
)
