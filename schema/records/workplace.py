"""Workplace (工作场所): a workshop or post group of an enterprise."""

from schema.actor import Role
from schema.base import Column, Kind, Record, Scope
from schema.catalogue import Confidence
from schema.indicators import Indicator, Measure
from schema.roles import ALL, READ, WRITE

RECORD = Record(
    name="workplace",
    label="工作场所",
    doc="A workshop, yard, gallery or post group in which workers are exposed.",
    columns=(
        Column("enterprise_id", Kind.REF, "用人单位", required=True, ref="enterprise"),
        Column("name", Kind.TEXT, "场所名称", required=True),
        Column("process", Kind.TEXT, "工艺", max_length=500),
        Column("posts", Kind.INTEGER, "岗位数", minimum=0),
        Column("signs_required", Kind.INTEGER, "应设警示标识数", minimum=0),
        Column("signs_present", Kind.INTEGER, "已设警示标识数", minimum=0),
        Column("remark", Kind.TEXT, "备注", max_length=2000),
    ),
    scope=Scope(parent="enterprise_id"),
    access={
        Role.ADMIN: READ,
        Role.SUPERVISOR: ALL,
        Role.INSPECTOR: ALL,
        Role.COORDINATOR: WRITE,
        Role.ENTERPRISE: READ,
        Role.CDC: READ,
    },
)

_POSTS = "t.signs_required > 0"

MEASURES = (
    Measure("signs-required", "workplace", "应设警示标识数", _POSTS, amount="t.signs_required"),
    Measure(
        "signs-present",
        "workplace",
        "已设警示标识数",
        f"{_POSTS} AND t.signs_present > 0",
        amount="least(t.signs_present, t.signs_required)",
    ),
)
INDICATORS = (
    Indicator(
        "IND-06b", "警示标识设置率", "signs-present", "signs-required", source="S2 警示标识设置率达到95%以上", confidence=Confidence.SURE
    ),
)
