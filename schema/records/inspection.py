"""Inspection (监督检查): one visit by at least two officers."""

from collections.abc import Iterator
from datetime import datetime

from schema.actor import Role
from schema.areas import Level
from schema.base import Choice, Column, Document, Kind, Moves, Policy, Record, Scope
from schema.catalogue import Confidence
from schema.indicators import Areas, Bound, Indicator, Measure, day
from schema.problems import Problem
from schema.roles import OFFICERS, READ, WRITE

KIND = Choice(
    "InspectionKind",
    (("DOUBLE_RANDOM", "双随机"), ("ROUTINE", "日常"), ("SPECIAL", "专项"), ("COMPLAINT", "举报"), ("RECHECK", "复查")),
)
RESULT = Choice(
    "InspectionResult", (("NO_PROBLEM", "未发现问题"), ("CORRECTED", "责令改正"), ("CASE_FILED", "立案查处"), ("UNREACHABLE", "无法联系"))
)
STATE = Choice("InspectionState", (("DRAFT", "草稿"), ("SIGNED", "已签字"), ("VOID", "作废")))
MOVES = Moves(
    initial=frozenset({"DRAFT", "SIGNED"}),
    allowed={("DRAFT", "SIGNED"): OFFICERS, ("DRAFT", "VOID"): OFFICERS, ("SIGNED", "VOID"): frozenset({Role.SUPERVISOR})},
)
FROZEN = Policy.FROZEN  # once signed, what the parties signed can't change (facts e.4: corrections are shown, never erased)


def _two_officers(after: Document, before: Document | None, at: datetime) -> Iterator[Problem]:
    if after["state"] == "SIGNED" and len(after["officers"] or ()) < 2:
        yield Problem("TWO_OFFICERS_REQUIRED", "签字的监督检查须有两名以上执法人员（行政处罚法第四十二条）", "officers")


RECORD = Record(
    name="inspection",
    label="监督检查",
    doc="A visit to an enterprise with its checklist, measurements and outcome.",
    columns=(
        Column("enterprise_id", Kind.REF, "用人单位", required=True, ref="enterprise", merge=FROZEN),
        Column("kind", Kind.ENUM, "检查来源", required=True, choice=KIND, merge=FROZEN),
        # A signature ends the draft, and only a supervisor voids what is signed, whoever syncs last.
        Column("state", Kind.ENUM, "状态", required=True, choice=STATE, merge=Policy.MOVES, moves=MOVES, default="DRAFT"),
        Column("inspected_at", Kind.TIMESTAMP, "检查时间", required=True, indexed=True, merge=FROZEN),
        Column("officers", Kind.TAGS, "执法人员", "Usernames of the officers, two or more when signed.", merge=FROZEN),
        Column("location", Kind.POSITION, "检查位置", merge=FROZEN),
        Column("checklist", Kind.ITEMS, "检查项目", "Items {id, item, result YES|NO|NOT_APPLICABLE, note}.", merge=FROZEN),
        Column(
            "measurements", Kind.ITEMS, "现场测量", "Items {id, factor, value, unit, at}.", merge=Policy.APPEND
        ),  # two officers measure side by side
        Column("result", Kind.ENUM, "检查结果", choice=RESULT, merge=FROZEN),
        Column("document_number", Kind.TEXT, "文书编号", max_length=60, merge=FROZEN),
        Column("opinion", Kind.TEXT, "监督意见", max_length=4000, merge=FROZEN),
        Column(
            "evidence", Kind.ITEMS, "证据", "Items {id, sha256, size, media_type, taken_at, position}.", merge=Policy.APPEND, evidence=True
        ),  # evidence is never removed
    ),
    scope=Scope(parent="enterprise_id"),
    access={Role.ADMIN: READ, Role.SUPERVISOR: WRITE, Role.INSPECTOR: WRITE, Role.ENTERPRISE: READ},
    rules=(_two_officers,),
    frozen_when=("state", frozenset({"SIGNED", "VOID"})),
    issued_when=("state", frozenset({"SIGNED"})),
    numbered="document_number",
    place="location",
)

_SIGNED = "t.state = 'SIGNED'"
_INSPECTED_ON = day("t.inspected_at")
_COUNTIES = Areas(Level.COUNTY, (), "县（市、区）")

MEASURES = (
    Measure("inspection", "inspection", "本期签字的监督检查", _SIGNED, on=_INSPECTED_ON),
    Measure("case-filed", "inspection", "本期立案查处的监督检查", f"{_SIGNED} AND t.result = 'CASE_FILED'", on=_INSPECTED_ON),
    Measure(
        "enterprise-inspected",
        "inspection",
        "本期被检查的用人单位",
        f"{_SIGNED} AND p.status = 'OPERATING'",
        on=_INSPECTED_ON,
        unit="enterprise_id",
    ),
)
INDICATORS = (
    Indicator(
        "IND-21a",
        "零执法县（市、区）占比",
        Areas(Level.COUNTY, (Bound("inspection", fewer=True),), "本期没有监督检查的县（市、区）"),
        _COUNTIES,
        source="S1 坚决杜绝“零执法、零处罚”",
        confidence=Confidence.SURE,
    ),
    Indicator(
        "IND-21b",
        "零处罚县（市、区）占比",
        Areas(Level.COUNTY, (Bound("case-filed", fewer=True),), "本期没有处罚的县（市、区）"),
        _COUNTIES,
        source="S1 坚决杜绝“零执法、零处罚”",
        confidence=Confidence.SURE,
        note="处罚决定尚无台账，以立案查处代替",
    ),
    Indicator("INSPECTED", "监督检查覆盖率", "enterprise-inspected", "enterprise-operating", source="业务需求 7.5"),
    Indicator("INSPECTIONS", "监督检查次数", "inspection", unit="次", source="S1 加强执法工作调度"),
)
