"""Who acts: roles (domain requirements, section 5) and the signed-in person. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    ADMIN = "ADMIN"  # runs the system; sees no patients
    SUPERVISOR = "SUPERVISOR"  # 主管
    INSPECTOR = "INSPECTOR"  # 执法人员
    COORDINATOR = "COORDINATOR"  # 乡镇职业卫生协管员
    ENTERPRISE = "ENTERPRISE"  # 用人单位
    EXAM = "EXAM"  # 职业健康检查机构
    DIAGNOSIS = "DIAGNOSIS"  # 职业病诊断机构
    SERVICE = "SERVICE"  # 职业卫生技术服务机构
    CDC = "CDC"  # 疾控/职防
    REHAB = "REHAB"  # 康复站（点）人员
    EXPERT = "EXPERT"  # 专家
    DEPARTMENT = "DEPARTMENT"  # 其他部门
    PUBLIC = "PUBLIC"  # 公众


@dataclass(frozen=True)
class Actor:
    """A signed-in person.

    `scopes` are what a row's scopes must meet: area codes, `user:ID`, `enterprise:ID`, `site:ID`, `inbox:ROLE:AREA`.
    """

    user_id: str
    username: str
    role: Role
    scopes: tuple[str, ...]
    device_id: str | None = None  # the enrolled device of this session
