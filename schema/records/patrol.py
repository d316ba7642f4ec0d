"""Patrol (巡查): a coordinator's visit; a lead for inspectors, not evidence of a violation (facts g)."""

from schema.actor import Role
from schema.base import Choice, Column, Kind, Moves, Policy, Record, Scope
from schema.indicators import Indicator, Measure, day
from schema.roles import OFFICERS, READ, WRITE

STATE = Choice("PatrolState", (("REPORTED", "已上报"), ("VERIFIED", "已核实"), ("DISMISSED", "不属实")))
MOVES = Moves(initial=frozenset({"REPORTED"}), allowed={("REPORTED", "VERIFIED"): OFFICERS, ("REPORTED", "DISMISSED"): OFFICERS})

RECORD = Record(
    name="patrol",
    label="巡查",
    doc="A coordinator's visit to an enterprise and what was seen there.",
    columns=(
        Column("enterprise_id", Kind.REF, "用人单位", required=True, ref="enterprise"),
        Column("coordinator_id", Kind.REF, "协管员", ref="coordinator"),
        # A lead is verified or dismissed once, by an officer.
        Column("state", Kind.ENUM, "状态", required=True, choice=STATE, merge=Policy.MOVES, moves=MOVES, default="REPORTED"),
        Column("patrolled_at", Kind.TIMESTAMP, "巡查时间", required=True, indexed=True),
        Column("location", Kind.POSITION, "巡查位置"),
        Column("declared", Kind.BOOLEAN, "已申报"),
        Column("signs_in_place", Kind.BOOLEAN, "警示标识齐全"),
        Column("protection_worn", Kind.BOOLEAN, "个体防护用品佩戴"),
        Column("lead", Kind.TEXT, "线索", "What an inspector should look at.", max_length=2000),
        Column(
            "evidence", Kind.ITEMS, "照片", "Items {id, sha256, size, media_type, taken_at, position}.", merge=Policy.APPEND, evidence=True
        ),  # never removed
        Column("feedback", Kind.TEXT, "核实反馈", max_length=2000, writers=OFFICERS),
    ),
    scope=Scope(parent="enterprise_id"),
    access={Role.ADMIN: READ, Role.SUPERVISOR: WRITE, Role.INSPECTOR: WRITE, Role.COORDINATOR: WRITE},
    place="location",
)

MEASURES = (
    Measure(
        "enterprise-patrolled",
        "patrol",
        "本期被巡查的用人单位",
        "t.state <> 'DISMISSED' AND p.status = 'OPERATING'",
        on=day("t.patrolled_at"),
        unit="enterprise_id",
    ),
)
INDICATORS = (
    Indicator(
        "PATROLLED",
        "巡查覆盖率",
        "enterprise-patrolled",
        "enterprise-operating",
        source="业务需求 7.2",
        note="本期内巡查过的，各计一次",
    ),
)
