"""The table of planning runs, and the words for what can be planned and measured."""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.metadata import metadata


class PlanKind(StrEnum):
    COVERING = "COVERING"  # sites from which the most patients are reached
    MEDIAN = "MEDIAN"  # sites to which patients travel least
    ROUTE = "ROUTE"  # a day's inspections in order


class PlanState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class SiteKind(StrEnum):
    STATION = "STATION"  # 康复站
    POINT = "POINT"  # 康复点


class AccessMeasure(StrEnum):
    WITHIN_KM = "WITHIN_KM"
    WITHIN_MINUTES = "WITHIN_MINUTES"
    NEAREST = "NEAREST"
    TWO_STEP = "TWO_STEP"
    ENHANCED = "ENHANCED"
    THREE_STEP = "THREE_STEP"


def _moment() -> sa.TIMESTAMP:
    return sa.TIMESTAMP(timezone=True)


_OPEN = sa.text("state IN ('QUEUED', 'RUNNING')")

planning_run = sa.Table(
    "planning_run",
    metadata,
    sa.Column("id", pg.UUID(as_uuid=False), primary_key=True, comment="UUIDv7: in order of start"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("area", sa.Text, nullable=False),
    sa.Column("parameters", pg.JSONB, nullable=False, comment="As they were asked for"),
    sa.Column("inputs", pg.JSONB, nullable=False, comment="What is computed with; counts of persons rounded, shown to nobody"),
    sa.Column("inputs_digest", sa.Text, nullable=False, comment="SHA-256 of the inputs"),
    sa.Column("versions", pg.JSONB, nullable=False, comment="As of which day, which areas, which roads"),
    sa.Column("state", sa.Text, nullable=False, server_default=PlanState.QUEUED.value),
    sa.Column("progress", sa.Double, nullable=False, server_default="0", comment="0 to 1"),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
    sa.Column("result", pg.JSONB),
    sa.Column("user_id", pg.UUID(as_uuid=False), nullable=False),
    sa.Column("created_at", _moment(), nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("started_at", _moment()),
    sa.Column("ended_at", _moment()),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("runner", sa.Text, comment="The node that works on it"),
    sa.Column("lease_until", _moment(), comment="Then it may be taken up by another node"),
    sa.CheckConstraint("state IN ('QUEUED', 'RUNNING', 'DONE', 'FAILED', 'CANCELLED')", name="ck_planning_run_state"),
    sa.Index("ix_planning_run_open", "id", postgresql_where=_OPEN),
    sa.Index("ix_planning_run_area", "area", "id"),
    comment="What was planned, from what, with what result",
)
