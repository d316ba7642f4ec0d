"""Exposure (接害情况): workers of a workplace exposed to one hazard factor."""

from schema.actor import Role
from schema.base import Column, Kind, Record, Scope
from schema.roles import ALL, OFFICERS, READ, WRITE

RECORD = Record(
    name="exposure",
    label="接害情况",
    doc="How many workers of a workplace are exposed to one factor; a worker may count in several rows (接触人数，可重复).",
    columns=(
        Column("workplace_id", Kind.REF, "工作场所", required=True, ref="workplace"),
        Column(
            "factor_code", Kind.TEXT, "危害因素代码", "Code of the hazard-factor catalogue.", required=True, max_length=20, indexed=True
        ),
        Column("factor_name", Kind.TEXT, "危害因素", "Free text under an open catalogue item."),
        Column("workers", Kind.INTEGER, "接触人数", unit="人", minimum=0),
        Column("contract_workers", Kind.INTEGER, "其中外委人数", unit="人", minimum=0),
        Column("tested_on", Kind.DATE, "最近检测日期", writers=OFFICERS),
        Column("points_tested", Kind.INTEGER, "检测点数", minimum=0, writers=OFFICERS),
        Column("points_exceeded", Kind.INTEGER, "超标点数", minimum=0, writers=OFFICERS),
    ),
    scope=Scope(parent="workplace_id"),
    access={
        Role.ADMIN: READ,
        Role.SUPERVISOR: ALL,
        Role.INSPECTOR: ALL,
        Role.COORDINATOR: WRITE,
        Role.ENTERPRISE: READ,
        Role.CDC: READ,
    },
)
