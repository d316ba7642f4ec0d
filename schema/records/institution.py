"""Institution (职业健康机构): who examines, diagnoses, tests or supports, approved from one date to another."""

from collections.abc import Iterator
from datetime import datetime

from schema.actor import Role
from schema.areas import Level
from schema.base import Choice, Column, Document, Kind, Record, Scope
from schema.catalogue import Confidence
from schema.identifiers import credit_code_fault
from schema.indicators import Areas, Bound, Indicator, Measure
from schema.problems import Problem
from schema.roles import ALL, READ

KIND = Choice(
    "InstitutionKind",
    (
        ("EXAM", "职业健康检查机构"),
        ("DIAGNOSIS", "职业病诊断机构"),
        ("SERVICE", "职业卫生技术服务机构"),
        ("SUPPORT", "技术支撑机构"),
        ("SUPERVISION", "监督机构"),
        ("CDC", "疾控机构"),
    ),
)


def _dates(after: Document, before: Document | None, at: datetime) -> Iterator[Problem]:
    if after["valid_from"] and after["valid_to"] and after["valid_to"] <= after["valid_from"]:
        yield Problem("END_BEFORE_START", "失效日期应晚于生效日期", "valid_to")


def _credit_code(after: Document, before: Document | None, at: datetime) -> Iterator[Problem]:
    code = after["credit_code"]
    if code and (before is None or before["credit_code"] != code) and (fault := credit_code_fault(code)):
        yield Problem("CREDIT_CODE_INVALID", f"统一社会信用代码 {code} 有误：{fault}", "credit_code")


RECORD = Record(
    name="institution",
    label="职业健康机构",
    doc="An institution of one kind at one place; with several kinds it stands here several times.",
    columns=(
        Column("name", Kind.TEXT, "名称", required=True),
        Column("kind", Kind.ENUM, "类别", required=True, choice=KIND),
        Column("area_code", Kind.AREA, "所在区划", required=True),
        Column("credit_code", Kind.TEXT, "统一社会信用代码", max_length=18),
        Column("address", Kind.TEXT, "地址"),
        Column("location", Kind.POSITION, "位置"),
        Column("valid_from", Kind.DATE, "生效日期", "Filed, approved or set up on; empty: before anybody noted."),
        Column("valid_to", Kind.DATE, "失效日期", "First day on which it is no longer."),
        Column("health_section", Kind.BOOLEAN, "设职业健康科室", "For supervision and CDC bodies (S1)."),
        Column("full_time_managers", Kind.INTEGER, "专职职业健康管理人员", unit="人", minimum=0),
        Column("demo", Kind.BOOLEAN, "演示虚构数据"),
    ),
    scope=Scope(area="area_code"),
    access={Role.ADMIN: READ, Role.SUPERVISOR: ALL, Role.INSPECTOR: READ, Role.COORDINATOR: READ, Role.CDC: READ},
    rules=(_dates, _credit_code),
    place="location",
    layer=(
        *("name", "kind", "area_code", "credit_code", "address", "valid_from", "valid_to", "health_section", "full_time_managers", "demo"),
    ),
)


def _approved(name: str, label: str, holds: str) -> Measure:
    return Measure(name, "institution", label, holds, since="t.valid_from", until="t.valid_to", kept=False)


_BODIES = "t.kind IN ('SUPERVISION', 'CDC')"
MEASURES = (
    _approved("institution-exam", "职业健康检查机构", "t.kind = 'EXAM'"),
    _approved("institution-diagnosis", "职业病诊断机构", "t.kind = 'DIAGNOSIS'"),
    _approved("institution-body", "监督机构和疾控机构", _BODIES),
    _approved("institution-section", "设职业健康科室并有专职管理人员的", f"{_BODIES} AND t.health_section AND t.full_time_managers > 0"),
)
INDICATORS = (
    Indicator(
        "IND-13",
        "有职业病诊断机构的市占比",
        Areas(Level.CITY, (Bound("institution-diagnosis"),), "有职业病诊断机构的市"),
        Areas(Level.CITY, (), "市"),
        source="S3 全市确定1家",
        confidence=Confidence.SURE,
    ),
    Indicator(
        "IND-14",
        "有职业健康检查机构的县（区）占比",
        Areas(Level.COUNTY, (Bound("institution-exam"),), "有职业健康检查机构的县（区）"),
        Areas(Level.COUNTY, (), "县（区）"),
        source="S3 至少确定1家；S2 确定1家医疗卫生机构",
        confidence=Confidence.SURE,
    ),
    Indicator(
        "IND-20",
        "监督和疾控机构职业健康科室设置率",
        "institution-section",
        "institution-body",
        source="S1 全部设立职业健康工作科室",
        confidence=Confidence.SURE,
    ),
)
