"""Coordinator (乡镇职业卫生协管员): who watches over a township; has no enforcement power."""

from collections.abc import Iterator
from datetime import datetime

from schema.actor import Role
from schema.areas import Level
from schema.base import Choice, Column, Document, Kind, Record, Scope
from schema.indicators import Areas, Bound, Indicator, Measure
from schema.problems import Problem
from schema.roles import ALL, FIELD, READ

STATUS = Choice("CoordinatorStatus", (("ACTIVE", "在岗"), ("SUSPENDED", "暂停"), ("ENDED", "离任")))


def _ended(after: Document, before: Document | None, at: datetime) -> Iterator[Problem]:
    if after["status"] == "ENDED" and not after["ended_on"]:
        yield Problem("END_DATE_REQUIRED", "离任须填写离任日期", "ended_on")
    if after["ended_on"] and after["appointed_on"] and after["ended_on"] < after["appointed_on"]:
        yield Problem("END_BEFORE_START", "离任日期不得早于聘任日期", "ended_on")


RECORD = Record(
    name="coordinator",
    label="协管员",
    doc="A person appointed for a township, from one date to another.",
    columns=(
        Column("name", Kind.TEXT, "姓名", required=True, max_length=60),
        Column("area_code", Kind.AREA, "负责乡镇", required=True),
        Column("phone", Kind.TEXT, "电话", max_length=40, readers=FIELD),
        Column("employer", Kind.TEXT, "所在单位"),
        Column("status", Kind.ENUM, "状态", required=True, choice=STATUS, default="ACTIVE"),
        Column("appointed_on", Kind.DATE, "聘任日期"),
        Column("ended_on", Kind.DATE, "离任日期"),
        Column("trained_on", Kind.DATE, "最近培训日期"),
        Column("username", Kind.TEXT, "账号", max_length=60),
        Column("demo", Kind.BOOLEAN, "演示虚构数据"),
    ),
    scope=Scope(area="area_code"),
    access={Role.ADMIN: READ, Role.SUPERVISOR: ALL, Role.INSPECTOR: READ, Role.COORDINATOR: READ, Role.CDC: READ},
    rules=(_ended,),
)

MEASURES = (
    Measure(
        "coordinator-active",
        "coordinator",
        "在岗协管员",
        "t.status = 'ACTIVE'",
        since="t.appointed_on",
        until="t.ended_on",
        kept=False,
    ),
)
INDICATORS = (
    Indicator(
        "COORDINATOR-TOWNSHIPS",
        "乡镇职业卫生协管员覆盖率",
        Areas(Level.TOWNSHIP, (Bound("coordinator-active"),), "有在岗协管员的乡镇（街道）"),
        Areas(Level.TOWNSHIP, (), "乡镇（街道）"),
        source="S1 乡镇职业卫生协管员队伍；业务需求 7.2",
        note="状态为在岗，且在任期内",
    ),
    Indicator(
        "COORDINATOR-LOAD",
        "每名协管员负责的用人单位数",
        "enterprise-operating",
        "coordinator-active",
        unit="家/人",
        source="业务需求 7.2",
    ),
)
