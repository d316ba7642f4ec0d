"""Patient (尘肺病患者): restricted; health data of a person, never a point on a map."""

from collections.abc import Iterator
from datetime import datetime

from schema.actor import Role
from schema.base import Choice, Column, Document, Kind, Record, Scope, Verb
from schema.identifiers import resident_id_fault
from schema.indicators import Indicator, Measure
from schema.problems import Problem
from schema.roles import WRITE
from schema.thresholds import threshold

STAGE = Choice("PneumoconiosisStage", (("I", "壹期"), ("II", "贰期"), ("III", "叁期")))
LIFE = Choice("PatientLife", (("ALIVE", "在世"), ("DEAD", "已故"), ("LOST", "失访")))
CDC = frozenset({Role.CDC})


def _resident_id(after: Document, before: Document | None, at: datetime) -> Iterator[Problem]:
    number = after["id_number"]
    if after["id_kind"] == "RESIDENT" and number and (before is None or before["id_number"] != number):
        fault = resident_id_fault(number)
        if fault:
            yield Problem("RESIDENT_ID_INVALID", f"居民身份证号码有误：{fault}", "id_number")


RECORD = Record(
    name="patient",
    label="尘肺病患者",
    doc="A person with diagnosed pneumoconiosis, followed up from residence. Read by the CDC of the area and the site that treats.",
    columns=(
        Column("name", Kind.TEXT, "姓名", required=True, max_length=60),
        Column(
            "id_kind",
            Kind.ENUM,
            "证件类型",
            choice=Choice(
                "IdentityKind", (("RESIDENT", "居民身份证"), ("PASSPORT", "护照"), ("PERMIT", "港澳台通行证或居住证"), ("OTHER", "其他"))
            ),
            readers=CDC,
        ),
        Column("id_number", Kind.TEXT, "证件号码", max_length=30, readers=CDC),
        Column("area_code", Kind.AREA, "居住地", "Residence, not place of registration.", required=True),
        Column("phone", Kind.TEXT, "电话", max_length=40),
        Column("stage", Kind.ENUM, "分期", choice=STAGE, writers=CDC),
        Column("life", Kind.ENUM, "生存状态", choice=LIFE, default="ALIVE"),
        Column("diagnosed_on", Kind.DATE, "诊断日期", writers=CDC),
        Column("dust_years", Kind.DECIMAL, "接尘工龄", unit="年", minimum=0, maximum=80, writers=CDC),
        Column("insured", Kind.BOOLEAN, "工伤保险", readers=CDC),
        Column("site_id", Kind.REF, "康复站（点）", ref="rehab_site"),
        Column("followed_up_on", Kind.DATE, "最近随访日期"),
        Column("demo", Kind.BOOLEAN, "演示虚构数据"),
    ),
    scope=Scope(area="area_code", keys={"site": "site_id"}),
    access={Role.CDC: WRITE, Role.REHAB: Verb.READ | Verb.UPDATE},
    rules=(_resident_id,),
    arbiters=CDC,
)

_RESIDENT = "t.life IS DISTINCT FROM 'DEAD'"
_DUE = f"(t.followed_up_on + make_interval(months => {threshold('FOLLOW_UP_MONTHS').value}))::date"

MEASURES = (
    Measure("patient", "patient", "常住尘肺病患者", _RESIDENT, since="t.diagnosed_on", personal=True),
    Measure(
        "patient-enrolled",
        "patient",
        "在康复站（点）的患者",
        f"{_RESIDENT} AND t.site_id IS NOT NULL",
        since="t.diagnosed_on",
        personal=True,
    ),
    Measure(
        "patient-followed-up",
        "patient",
        "一年内随访过的患者",
        f"{_RESIDENT} AND t.followed_up_on IS NOT NULL",
        since="greatest(t.diagnosed_on, t.followed_up_on)",
        until=_DUE,
        personal=True,
    ),
)
INDICATORS = (
    Indicator("PATIENTS", "常住尘肺病患者数", "patient", unit="人", source="业务需求 7.3"),
    Indicator("PATIENT-ENROLLED", "患者康复服务率", "patient-enrolled", "patient", source="业务需求 7.3"),
    Indicator(
        "PATIENT-FOLLOWED-UP",
        "患者随访率",
        "patient-followed-up",
        "patient",
        source="业务需求 7.3",
        version=2,
        note="周期见 FOLLOW_UP_MONTHS（待核）；建账以前只知最近一次随访，不作统计",
    ),
)
