"""Sync conflict (同步冲突): a value that lost or was refused, kept until a person has seen it. Written by sync alone."""

from schema.actor import Role
from schema.base import Choice, Column, Kind, Policy, Record, Scope
from schema.roles import READ

OUTCOME = Choice("ConflictOutcome", (("LOST", "被较晚的修改取代"), ("REFUSED", "被拒绝"), ("MANUAL", "待人工裁定")))
RESOLUTION = Choice("ConflictResolution", (("MINE", "采用设备值"), ("THEIRS", "保留服务器值"), ("VALUE", "另行填写")))
SERVER = Policy.SERVER  # sync alone writes it: what a device claims of its own refusal is no evidence

RECORD = Record(
    name="sync_conflict",
    label="同步冲突",
    doc="One field of one document: what the device sent, what the server had, what was kept, and why.",
    columns=(
        Column("record", Kind.TEXT, "台账", required=True, merge=SERVER, max_length=60),
        Column("doc_id", Kind.TEXT, "记录编号", required=True, merge=SERVER, indexed=True),
        Column("field", Kind.TEXT, "字段", "Column name; empty when the whole row was refused.", merge=SERVER),
        Column("policy", Kind.TEXT, "合并方式", merge=SERVER),
        Column("outcome", Kind.ENUM, "结果", choice=OUTCOME, merge=SERVER, indexed=True),
        Column("code", Kind.TEXT, "原因代码", merge=SERVER),
        Column("message", Kind.TEXT, "说明", merge=SERVER, max_length=2000),
        Column("base", Kind.JSON, "共同的原值", merge=SERVER),
        Column("mine", Kind.JSON, "设备值", merge=SERVER),
        Column("theirs", Kind.JSON, "服务器值", merge=SERVER),
        Column("author_id", Kind.REF, "修改人", merge=SERVER),
        Column("device_id", Kind.TEXT, "设备", merge=SERVER),
        Column("occurred_at", Kind.TIMESTAMP, "发生时间", merge=SERVER, indexed=True),
        Column("resolution", Kind.ENUM, "处理", choice=RESOLUTION, merge=SERVER),
        Column("resolved_by", Kind.TEXT, "处理人", merge=SERVER),
        Column("resolved_at", Kind.TIMESTAMP, "处理时间", merge=SERVER),
    ),
    scope=Scope(keys={"user": "author_id"}),
    access={role: READ for role in Role if role is not Role.PUBLIC},
)
