"""Finding (隐患): open, rectified, re-checked, then closed or escalated to a case."""

from collections.abc import Iterator
from datetime import datetime

from schema.actor import Role
from schema.base import Choice, Column, Document, Kind, Moves, Policy, Record, Scope
from schema.indicators import Indicator, Measure, day
from schema.problems import Problem
from schema.roles import FIELD, OFFICERS, READ, WRITE

SOURCE = Choice(
    "FindingSource", (("SELF_CHECK", "企业自查"), ("INSPECTION", "监督检查"), ("PATROL", "协管员巡查"), ("COMPLAINT", "举报投诉"))
)
SEVERITY = Choice("FindingSeverity", (("MINOR", "一般"), ("MAJOR", "较重"), ("SEVERE", "严重")))
STATE = Choice(
    "FindingState", (("OPEN", "待整改"), ("RECTIFIED", "已整改"), ("RECHECKED", "已复查"), ("CLOSED", "已销号"), ("ESCALATED", "转立案"))
)
MOVES = Moves(
    initial=frozenset({"OPEN"}),
    allowed={
        ("OPEN", "RECTIFIED"): FIELD | {Role.ENTERPRISE},
        ("RECTIFIED", "OPEN"): OFFICERS,
        ("RECTIFIED", "RECHECKED"): OFFICERS,
        ("RECHECKED", "CLOSED"): OFFICERS,
        ("RECHECKED", "OPEN"): OFFICERS,
        ("OPEN", "ESCALATED"): OFFICERS,
        ("RECTIFIED", "ESCALATED"): OFFICERS,
        ("RECHECKED", "ESCALATED"): OFFICERS,
    },
)


def _deadline(after: Document, before: Document | None, at: datetime) -> Iterator[Problem]:
    if after["source"] == "INSPECTION" and not after["deadline_on"]:
        yield Problem("DEADLINE_REQUIRED", "监督检查发现的隐患须有整改期限", "deadline_on")


RECORD = Record(
    name="finding",
    label="隐患",
    doc="A hidden danger in closed loop: open, rectified, re-checked, closed or escalated.",
    columns=(
        # Closed or escalated, a finding is part of a file: whose it was and who found it stand.
        Column("enterprise_id", Kind.REF, "用人单位", required=True, ref="enterprise", merge=Policy.FROZEN),
        Column("inspection_id", Kind.REF, "监督检查", ref="inspection"),
        Column("patrol_id", Kind.REF, "巡查", ref="patrol"),
        # As above: it decides whether a deadline was due.
        Column("source", Kind.ENUM, "来源", required=True, choice=SOURCE, merge=Policy.FROZEN),
        Column("severity", Kind.ENUM, "严重程度", choice=SEVERITY, default="MINOR"),
        # The closed loop: two devices can't skip the re-check between them.
        Column("state", Kind.ENUM, "状态", required=True, choice=STATE, merge=Policy.MOVES, moves=MOVES, default="OPEN"),
        Column("description", Kind.TEXT, "隐患内容", required=True, max_length=2000),
        Column("law_article", Kind.TEXT, "依据条款", max_length=200, writers=OFFICERS),
        Column("responsible", Kind.TEXT, "整改责任人", max_length=60),
        Column("deadline_on", Kind.DATE, "整改期限", writers=OFFICERS, indexed=True),
        Column("rectified_on", Kind.DATE, "整改日期"),
        Column("rechecked_on", Kind.DATE, "复查日期", writers=OFFICERS),
        Column(
            "evidence",
            Kind.ITEMS,
            "证据",
            "Items {id, phase BEFORE|AFTER, sha256, size, media_type, taken_at, position}.",
            merge=Policy.APPEND,
            evidence=True,
        ),  # never removed
    ),
    scope=Scope(parent="enterprise_id"),
    access={Role.ADMIN: READ, Role.SUPERVISOR: WRITE, Role.INSPECTOR: WRITE, Role.COORDINATOR: WRITE, Role.ENTERPRISE: READ},
    rules=(_deadline,),
    frozen_when=("state", frozenset({"CLOSED", "ESCALATED"})),
)

MEASURES = (
    Measure(
        "enterprise-open-findings",
        "finding",
        "有未销号隐患的用人单位",
        "t.state <> 'CLOSED' AND p.status = 'OPERATING'",
        since=day("t.created_at"),
        unit="enterprise_id",
    ),
)
INDICATORS = (
    Indicator("OPEN-FINDINGS", "有未销号隐患的用人单位占比", "enterprise-open-findings", "enterprise-operating", source="业务需求 7.1"),
)
