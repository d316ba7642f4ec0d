"""Enterprise (用人单位): the register that everything else refers to."""

from collections.abc import Iterator
from datetime import datetime

from schema.actor import Role
from schema.base import Choice, Column, Document, Kind, Policy, Record, Scope
from schema.catalogue import Confidence
from schema.identifiers import credit_code_fault
from schema.indicators import Indicator, Measure
from schema.problems import Problem
from schema.roles import ALL, OFFICERS, READ, SUPERVISORS, WRITE
from schema.thresholds import threshold

SIZE = Choice("EnterpriseSize", (("LARGE", "大型"), ("MEDIUM", "中型"), ("SMALL", "小型"), ("MICRO", "微型")))
DECLARATION = Choice("DeclarationState", (("SUBMITTED", "已提交"), ("ACCEPTED", "已受理"), ("CANCELLED", "已注销")))
MANAGEMENT = Choice("ManagementGrade", (("A", "A（90–100）"), ("B", "B（70–89）"), ("C", "C（70以下）")))
STATUS = Choice("EnterpriseStatus", (("OPERATING", "生产经营"), ("SUSPENDED", "停产"), ("CLOSED", "关闭"), ("WITHDRAWN", "淘汰退出")))
HAZARD_CLASS = Choice("HazardClass", (("SEVERE", "严重"), ("GENERAL", "一般")))
SUPERVISION_CLASS = Choice("SupervisionClass", (("JIA", "甲（低）"), ("YI", "乙"), ("BING", "丙（高）")))
SOURCE = Choice(
    "EnterpriseSource",
    (
        ("DECLARATION", "企业申报"),
        ("INSPECTION", "监督检查"),
        ("COORDINATOR", "协管员上报"),
        ("IMPORT", "批量导入"),
        ("DEMO", "演示虚构数据"),
    ),
)


def _credit_code(after: Document, before: Document | None, at: datetime) -> Iterator[Problem]:
    code = after["credit_code"]
    if code and (before is None or before["credit_code"] != code):
        fault = credit_code_fault(code)
        if fault:
            yield Problem("CREDIT_CODE_INVALID", f"统一社会信用代码 {code} 有误：{fault}", "credit_code")


def _headcount(after: Document, before: Document | None, at: datetime) -> Iterator[Problem]:
    workers, exposed = after["employees"], after["exposed_workers"]
    if workers is not None and exposed is not None and exposed > workers + (after["contract_workers"] or 0):
        yield Problem("EXPOSED_EXCEEDS_WORKERS", "接害人数不得超过从业人数与外委人数之和", "exposed_workers")


RECORD = Record(
    name="enterprise",
    label="用人单位",
    doc="An employer at one place of work. One credit code may have several places.",
    columns=(
        Column("name", Kind.TEXT, "单位名称", required=True, indexed=True),
        Column(
            "credit_code",
            Kind.TEXT,
            "统一社会信用代码",
            "GB 32100-2015, 18 characters.",
            max_length=18,
            indexed=True,
            merge=Policy.MANUAL,  # identity: two different codes mean two readings of a licence, a person compares
        ),
        Column("area_code", Kind.AREA, "所在区划", required=True),
        Column("address", Kind.TEXT, "工作场所地址"),
        Column("location", Kind.POSITION, "位置"),
        Column("industry_code", Kind.TEXT, "行业代码", "GB/T 4754-2017.", max_length=5),
        Column("size", Kind.ENUM, "企业规模", choice=SIZE),
        Column("status", Kind.ENUM, "经营状态", required=True, choice=STATUS, default="OPERATING"),
        Column("hazard_class", Kind.ENUM, "职业病危害风险分类", "Industry risk class, catalogue of 2021.", choice=HAZARD_CLASS),
        Column(
            "hazards", Kind.TAGS, "职业病危害因素", "Codes of the hazard-factor catalogue.", merge=Policy.UNION
        ),  # each visit adds what it saw
        Column(
            "supervision_class",
            Kind.ENUM,
            "分类监督等级",
            "Scheme of 2023: JIA lowest, BING highest risk.",
            choice=SUPERVISION_CLASS,
            writers=OFFICERS,
        ),
        Column(
            "management_grade", Kind.ENUM, "职业卫生管理状况等级", "Self-check verified by officers.", choice=MANAGEMENT, writers=OFFICERS
        ),
        # Which industries are key is decided by place and campaign, not by code alone.
        Column("key_industry", Kind.BOOLEAN, "重点行业", writers=OFFICERS),
        Column("legal_representative", Kind.TEXT, "法定代表人", max_length=60),
        Column("contact_name", Kind.TEXT, "职业卫生联系人", max_length=60),
        Column("contact_phone", Kind.TEXT, "联系电话", max_length=40),
        Column("employees", Kind.INTEGER, "从业人数", unit="人", minimum=0),
        Column("contract_workers", Kind.INTEGER, "外委人数", unit="人", minimum=0),
        Column("exposed_workers", Kind.INTEGER, "接害人数", unit="人", minimum=0),
        Column("declared_on", Kind.DATE, "最近申报日期", writers=OFFICERS),
        Column("declaration_state", Kind.ENUM, "申报状态", choice=DECLARATION, writers=OFFICERS),
        Column("tested_on", Kind.DATE, "最近检测日期", writers=OFFICERS),
        # Two officers who both came are two visits: deltas add up.
        Column("visits", Kind.INTEGER, "现场到访次数", "Each device adds its own visits.", merge=Policy.COUNTER, minimum=0, default=0),
        # Where the register first knew it from is a fact of that day; nobody's later edit makes it another.
        Column("source", Kind.ENUM, "来源", choice=SOURCE, writers=SUPERVISORS | OFFICERS | {Role.COORDINATOR}, merge=Policy.FROZEN),
        Column("notes", Kind.ITEMS, "工作记事", "Items {id, at, text}.", merge=Policy.APPEND),  # nobody's note is overwritten
        Column("remark", Kind.TEXT, "备注", max_length=2000),
    ),
    scope=Scope(area="area_code", keys={"enterprise": "id"}),
    access={
        Role.ADMIN: READ,
        Role.SUPERVISOR: ALL,
        Role.INSPECTOR: WRITE,
        Role.COORDINATOR: WRITE,
        Role.ENTERPRISE: READ,
        Role.CDC: READ,
    },
    rules=(_credit_code, _headcount),
    frozen_when=("source", frozenset({"DECLARATION", "INSPECTION", "COORDINATOR", "IMPORT", "DEMO"})),
    place="location",
    layer=(
        *("name", "credit_code", "area_code", "address", "industry_code", "size", "status", "hazard_class", "hazards", "supervision_class"),
        *("management_grade", "key_industry", "employees", "contract_workers", "exposed_workers", "declared_on", "declaration_state"),
        *("tested_on", "visits", "source", "place_check"),
    ),
)

_OPERATING = "t.status = 'OPERATING'"
_EXPOSED = f"{_OPERATING} AND cardinality(t.hazards) > 0"
_DECLARED = f"{_EXPOSED} AND t.declared_on IS NOT NULL AND t.declaration_state IS DISTINCT FROM 'CANCELLED'"
_TESTED = f"{_EXPOSED} AND t.tested_on IS NOT NULL"
_LAPSES = (
    "(t.tested_on + make_interval(months => CASE t.hazard_class"
    f" WHEN 'SEVERE' THEN {threshold('TEST_MONTHS_SEVERE').value} ELSE {threshold('TEST_MONTHS_GENERAL').value} END))::date"
)
_KEY = " AND t.key_industry"
_PLACED = "t.location IS NOT NULL AND t.place_check IS NOT NULL AND t.place_check NOT IN ('OUTSIDE', 'OTHER_DATUM')"

MEASURES = (
    Measure("enterprise-operating", "enterprise", "生产经营的用人单位", _OPERATING),
    Measure("enterprise-exposed", "enterprise", "存在职业病危害因素的用人单位", _EXPOSED),
    Measure("enterprise-exposed-key", "enterprise", "重点行业存在职业病危害因素的用人单位", _EXPOSED + _KEY),
    Measure("enterprise-declared", "enterprise", "已申报职业病危害项目的用人单位", _DECLARED, since="t.declared_on"),
    Measure("enterprise-declared-key", "enterprise", "重点行业已申报职业病危害项目的用人单位", _DECLARED + _KEY, since="t.declared_on"),
    Measure("enterprise-tested", "enterprise", "在法定周期内检测的用人单位", _TESTED, since="t.tested_on", until=_LAPSES),
    Measure(
        "enterprise-tested-key", "enterprise", "重点行业在法定周期内检测的用人单位", _TESTED + _KEY, since="t.tested_on", until=_LAPSES
    ),
    Measure("enterprise-classified", "enterprise", "已定分类监督等级的用人单位", f"{_OPERATING} AND t.supervision_class IS NOT NULL"),
    Measure("enterprise-bing", "enterprise", "丙类用人单位", f"{_OPERATING} AND t.supervision_class = 'BING'"),
    Measure("enterprise-placed", "enterprise", "位置与所在区划相符的用人单位", f"{_OPERATING} AND {_PLACED}"),
    Measure("enterprise-exposed-workers", "enterprise", "接害人数", f"{_EXPOSED} AND t.exposed_workers > 0", amount="t.exposed_workers"),
)
_SURE = Confidence.SURE
_TEST_NOTE = "严重的用人单位每年至少一次，其余每三年至少一次（第5号令第二十条）；未划分风险的按一般计"

INDICATORS = (
    Indicator(
        "IND-01",
        "职业病危害项目申报率",
        "enterprise-declared",
        "enterprise-exposed",
        scope="全部用人单位",
        source="S2 职业病危害项目申报率达到85%",
        confidence=_SURE,
    ),
    Indicator(
        "IND-01K",
        "职业病危害项目申报率（重点行业）",
        "enterprise-declared-key",
        "enterprise-exposed-key",
        scope="重点行业的用人单位",
        source="S3 75%和85%以上",
        confidence=_SURE,
    ),
    Indicator(
        "IND-04",
        "工作场所职业病危害因素定期检测率",
        "enterprise-tested",
        "enterprise-exposed",
        scope="全部用人单位",
        source="S2 定期检测率达到80%以上",
        confidence=_SURE,
        note=_TEST_NOTE,
    ),
    Indicator(
        "IND-04K",
        "工作场所职业病危害因素定期检测率（重点行业）",
        "enterprise-tested-key",
        "enterprise-exposed-key",
        scope="重点行业的用人单位",
        source="S3 70%和80%以上",
        confidence=_SURE,
        note=_TEST_NOTE,
    ),
    Indicator("ENT-CLASSIFIED", "分类监督定级率", "enterprise-classified", "enterprise-operating", source="业务需求 7.1"),
    Indicator("ENT-BING", "丙类用人单位占比", "enterprise-bing", "enterprise-operating", source="业务需求 7.1"),
    Indicator(
        "ENT-PLACED",
        "位置相符的用人单位占比",
        "enterprise-placed",
        "enterprise-operating",
        version=2,
        source="业务需求 7.1",
        note="差额为没有位置、位置在所在区划之外或只在另一坐标系下相符的用人单位；边界附近的和无界线可核的算相符",
    ),
    Indicator("ENT-COUNT", "生产经营的用人单位数", "enterprise-operating", unit="家", source="业务需求 7.1"),
)
