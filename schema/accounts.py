"""Tables of people and their devices: accounts, grants, devices, sessions, failed log-ins, audit."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.metadata import metadata


def _uuid() -> pg.UUID[str]:
    return pg.UUID(as_uuid=False)


def _moment() -> sa.TIMESTAMP:
    return sa.TIMESTAMP(timezone=True)


user_account = sa.Table(
    "user_account",
    metadata,
    sa.Column("id", _uuid(), primary_key=True),
    sa.Column("username", sa.Text, nullable=False, unique=True, comment="Trimmed, lower case"),
    sa.Column("password_hash", sa.Text, nullable=False, comment="argon2id"),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False, server_default=""),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("demo", sa.Boolean, nullable=False, server_default=sa.false(), comment="Known password: served on loopback only"),
    sa.Column("created_at", _moment(), nullable=False, server_default=sa.func.now()),
)

user_grant = sa.Table(
    "user_grant",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("user_id", _uuid(), sa.ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    sa.Column("scope", sa.Text, nullable=False, comment="Area code, 000000 for the country, enterprise:ID or site:ID"),
    sa.Column("valid_from", _moment(), nullable=False, server_default=sa.func.now()),
    sa.Column("valid_to", _moment(), comment="First moment without it; null: no end"),
    sa.Column("granted_by", _uuid(), comment="Null: with the account"),
    sa.CheckConstraint("valid_to >= valid_from", name="ck_user_grant_period"),
    sa.Index("ix_user_grant_user_id", "user_id"),
)

device = sa.Table(
    "device",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="Made by the client, once per installation and person"),
    sa.Column("user_id", _uuid(), sa.ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.Text, nullable=False, server_default=""),
    sa.Column("platform", sa.Text, nullable=False, server_default=""),
    sa.Column("client_version", sa.Text, nullable=False, server_default=""),
    sa.Column("clock_offset_ms", sa.BigInteger, comment="Server's clock minus the device's, at the last contact that told it"),
    sa.Column("clock_measured_at", _moment()),
    sa.Column("thumbprint", sa.Text, comment="RFC 7638, of the key that signs its requests; null: not enrolled"),
    sa.Column("enrolled_at", _moment()),
    sa.Column("enrolled_by", _uuid(), comment="Who issued the code"),
    sa.Column("offline_bytes", sa.BigInteger, comment="Size of what it holds, as it says"),
    sa.Column("unsent", sa.Integer, comment="Documents not sent yet, as it said at reported_at"),
    sa.Column("reported_at", _moment()),
    sa.Column("held_pos", sa.BigInteger, comment="Head of the feed when a pull last reached its end"),
    sa.Column("held_at", _moment()),
    sa.Column("last_seen_at", _moment(), nullable=False, server_default=sa.func.now()),
    sa.Column("revoked_at", _moment()),
    sa.Column("revoked_by", _uuid()),
    sa.Column("revoked_for", sa.Text, comment="The reason, in words"),
    sa.Column("wiped_at", _moment(), comment="When it said that it had wiped itself"),
    sa.Index("ix_device_user_id", "user_id"),
)

device_code = sa.Table(
    "device_code",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True, comment="SHA-256; the code itself is kept nowhere"),
    sa.Column("user_id", _uuid(), sa.ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    sa.Column("issued_by", _uuid(), nullable=False),
    sa.Column("expires_at", _moment(), nullable=False),
    sa.Column("used_at", _moment()),
    comment="One-time codes with which a device registers its key",
)

auth_family = sa.Table(
    "auth_family",
    metadata,
    sa.Column("id", _uuid(), primary_key=True),
    sa.Column("user_id", _uuid(), sa.ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    sa.Column("device_id", sa.Text, sa.ForeignKey("device.id", ondelete="CASCADE"), nullable=False),
    sa.Column("started_at", _moment(), nullable=False),
    sa.Column("expires_at", _moment(), nullable=False, comment="Grows with each refresh"),
    sa.Column("revoked_at", _moment()),
    sa.Column("revoked_for", sa.Text, comment="LOGOUT, REUSE or DEVICE"),
    sa.Index("ix_auth_family_user_id", "user_id"),
    sa.Index("ix_auth_family_device_id", "device_id"),
    comment="One log-in and all refresh tokens that descend from it",
)

refresh_token = sa.Table(
    "refresh_token",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True, comment="SHA-256; the token itself is kept nowhere"),
    sa.Column("family_id", _uuid(), sa.ForeignKey("auth_family.id", ondelete="CASCADE"), nullable=False),
    sa.Column("issued_at", _moment(), nullable=False),
    sa.Column("used_at", _moment()),
    sa.Column("successor", sa.LargeBinary, comment="Hash of the token that replaced it"),
    sa.Index("ix_refresh_token_family_id", "family_id"),
)

read_token = sa.Table(
    "read_token",
    metadata,
    sa.Column("id", _uuid(), primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True, comment="SHA-256; the token itself is kept nowhere"),
    sa.Column("user_id", _uuid(), sa.ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False),
    sa.Column("device_id", sa.Text, sa.ForeignKey("device.id", ondelete="CASCADE"), comment="Where it was made; it ends with the device"),
    sa.Column("name", sa.Text, nullable=False, comment="What it is for, in the words of its maker"),
    sa.Column("created_at", _moment(), nullable=False),
    sa.Column("expires_at", _moment(), nullable=False),
    sa.Column("last_used_at", _moment(), comment="To the hour"),
    sa.Column("revoked_at", _moment()),
    sa.Column("revoked_by", _uuid()),
    sa.Index("ix_read_token_user_id", "user_id"),
    sa.Index("ix_read_token_device_id", "device_id"),
    comment="Tokens for programs that only read, such as QGIS",
)

login_failure = sa.Table(
    "login_failure",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("key", sa.LargeBinary, nullable=False, comment="SHA-256 of what is limited"),
    sa.Column("at", _moment(), nullable=False),
    sa.Index("ix_login_failure_key_at", "key", "at"),
    sa.Index("ix_login_failure_at", "at"),
)

audit_entry = sa.Table(
    "audit_entry",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("at", _moment(), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("user_id", _uuid()),
    sa.Column("device_id", sa.Text),
    sa.Column("area", sa.Text),
    sa.Column("detail", pg.JSONB, nullable=False, server_default=sa.text("'{}'")),
    sa.Index("ix_audit_entry_at", "at", postgresql_using="brin"),
    sa.Index("ix_audit_entry_user_id_at", "user_id", "at"),
    comment="Who did what beside the records; insert-only",
)
