"""Rehabilitation site (康复站、康复点) for pneumoconiosis patients."""

from schema.actor import Role
from schema.areas import Level
from schema.base import Choice, Column, Kind, Record, Scope
from schema.indicators import Areas, Bound, Indicator, Measure
from schema.roles import ALL, READ, WRITE

KIND = Choice("RehabSiteKind", (("STATION", "康复站"), ("POINT", "康复点")))
STATUS = Choice("RehabSiteStatus", (("PLANNED", "拟建"), ("OPEN", "运行"), ("CLOSED", "停运")))

RECORD = Record(
    name="rehab_site",
    label="康复站（点）",
    doc="A station in a township health centre or a point in a village clinic; two levels of facility.",
    columns=(
        Column("name", Kind.TEXT, "名称", required=True),
        Column("kind", Kind.ENUM, "类别", required=True, choice=KIND),
        Column("area_code", Kind.AREA, "所在区划", required=True),
        Column("address", Kind.TEXT, "地址"),
        Column("location", Kind.POSITION, "位置"),
        Column("host", Kind.TEXT, "依托机构"),
        Column("status", Kind.ENUM, "状态", required=True, choice=STATUS, default="PLANNED"),
        Column("opened_on", Kind.DATE, "开放日期"),
        Column("capacity", Kind.INTEGER, "可服务人数", unit="人", minimum=0),
        Column("physicians", Kind.INTEGER, "康复医师", unit="人", minimum=0),
        Column("nurses", Kind.INTEGER, "护士", unit="人", minimum=0),
        Column("equipment", Kind.TAGS, "设备"),
        Column("phone", Kind.TEXT, "电话", max_length=40),
        Column("demo", Kind.BOOLEAN, "演示虚构数据"),
    ),
    scope=Scope(area="area_code", keys={"site": "id"}),
    access={
        Role.ADMIN: READ,
        Role.SUPERVISOR: ALL,
        Role.INSPECTOR: READ,
        Role.COORDINATOR: READ,
        Role.CDC: WRITE,
        Role.REHAB: READ,
    },
    place="location",
    layer=(
        *("name", "kind", "area_code", "address", "host", "status", "opened_on", "capacity", "physicians", "nurses", "equipment", "demo"),
    ),
)

_OPEN = "t.status = 'OPEN' AND t.kind = '{}'"
_HAS_100 = Bound("patient", "STATION_PATIENTS")
_HAS_10 = Bound("patient", "POINT_PATIENTS")

MEASURES = (
    Measure("rehab-station", "rehab_site", "运行的康复站", _OPEN.format("STATION"), since="t.opened_on", kept=False),
    Measure("rehab-point", "rehab_site", "运行的康复点", _OPEN.format("POINT"), since="t.opened_on", kept=False),
)
INDICATORS = (
    Indicator(
        "REHAB-STATIONS",
        "尘肺病患者集中乡镇康复服务覆盖率",
        Areas(Level.TOWNSHIP, (_HAS_100, Bound("rehab-station")), "其中有康复站的"),
        Areas(Level.TOWNSHIP, (_HAS_100,), "常住尘肺病患者达到设站人数的乡镇（街道）"),
        source="国卫职健发〔2019〕46号；业务需求 7.3",
        note="设站人数见 thresholds.csv STATION_PATIENTS（待核）",
    ),
    Indicator(
        "REHAB-POINTS",
        "尘肺病患者集中村康复服务覆盖率",
        Areas(Level.VILLAGE, (_HAS_10, Bound("rehab-point")), "其中有康复点的"),
        Areas(Level.VILLAGE, (_HAS_10,), "常住尘肺病患者达到设点人数的村"),
        source="国卫职健发〔2019〕46号；业务需求 7.3",
        note="设点人数见 thresholds.csv POINT_PATIENTS（待核）；村级区划装入后才有数",
    ),
)
