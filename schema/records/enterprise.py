"""Enterprise (用人单位): the register that everything else refers to."""

from collections.abc import Iterator
from datetime import datetime

from schema.actor import Role
from schema.base import Choice, Column, Document, Kind, Policy, Record, Scope
from schema.identifiers import credit_code_fault
from schema.problems import Problem
from schema.roles import ALL, OFFICERS, READ, SUPERVISORS, WRITE

SIZE = Choice("EnterpriseSize", (("LARGE", "大型"), ("MEDIUM", "中型"), ("SMALL", "小型"), ("MICRO", "微型")))
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
        Column("legal_representative", Kind.TEXT, "法定代表人", max_length=60),
        Column("contact_name", Kind.TEXT, "职业卫生联系人", max_length=60),
        Column("contact_phone", Kind.TEXT, "联系电话", max_length=40),
        Column("employees", Kind.INTEGER, "从业人数", unit="人", minimum=0),
        Column("contract_workers", Kind.INTEGER, "外委人数", unit="人", minimum=0),
        Column("exposed_workers", Kind.INTEGER, "接害人数", unit="人", minimum=0),
        Column("declared_on", Kind.DATE, "最近申报日期", writers=OFFICERS),
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
)
