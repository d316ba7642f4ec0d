"""Indicators whose records do not exist yet. When one comes, its declaration moves beside that record and names what it counts."""

from schema.catalogue import Confidence
from schema.indicators import Indicator


def _awaited(id_: str, label: str, source: str, *waits: str, unit: str = "%", denominator: str = "", note: str = "") -> Indicator:
    return Indicator(id_, label, "", denominator, unit, source=source, confidence=Confidence.SURE, note=note, waits=waits)


INDICATORS = (
    _awaited("IND-02", "职业病危害摸底调查覆盖率", "S2 摸底调查覆盖率达到90%以上", "survey_record"),
    _awaited(
        "IND-03",
        "建设项目职业病危害控制效果评价率",
        "S2 控制效果评价率达到75%以上",
        "construction_project",
        "control_effect_evaluation",
    ),
    _awaited("IND-05a", "存在职业病危害的企业劳动者职业健康检查率", "S2 劳动者职业健康检查率达到90%", "worker", "health_exam"),
    _awaited("IND-05b", "接触职业病危害劳动者在岗期间职业健康检查率", "S3 80%和90%以上", "worker", "health_exam"),
    _awaited("IND-06a", "职业病危害告知率", "S2 告知率和警示标识设置率达到", "worker", note="分母或为被检查的用人单位，两种都公布"),
    _awaited("IND-07", "主要负责人、职业卫生管理人员职业卫生培训率", "S3 85％和95％以上", "person", "training_certificate"),
    _awaited("IND-08", "医疗卫生机构放射工作人员个人剂量监测率", "S3 85%和90%以上", "radiation_worker", "dose_record"),
    _awaited(
        "IND-09a", "重点职业病监测和放射卫生监测的区覆盖率", "S2 区覆盖率达到95%以上", "monitoring_programme", note="覆盖单位原文未定"
    ),
    _awaited("IND-09b", "开展重点职业病监测工作的县（区）覆盖率", "S3 覆盖率分别达到85%和90%", "monitoring_programme"),
    _awaited("IND-10", "职业病诊断机构报告率", "S2 职业病诊断机构报告率达到95%", "diagnosis", "diagnosis_card"),
    _awaited("IND-11", "劳动者依法应参加工伤保险覆盖率", "S3 85%和86%以上", "worker"),
    _awaited("IND-12", "职业卫生监管人员培训全覆盖", "S2 职业卫生监管人员培训实现全覆盖", "inspector", "training_certificate"),
    _awaited("IND-15", "联席会议频次", "S2 每季度召开一次", "meeting", unit="季度"),
    _awaited("IND-16", "小微企业帮扶", "S0 帮扶400户小微企业", "sme_assistance", unit="户"),
    _awaited("IND-17", "示范企业和突出问题治理", "S0 创建百户", "demo_enterprise", "problem", unit="户"),
    _awaited("IND-18", "省级培训班和知识竞赛", "S0 10期职业病危害", "training_class", "competition", unit="期"),
    _awaited("IND-19", "各地专项整治行业数", "S0 选择2-3个进行纵深治理", "campaign", unit="个"),
    _awaited("IND-22", "职业健康检查机构网络报告率", "S1 所有职业健康检查机构", "health_exam"),
    _awaited("IND-23", "新发尘肺并报告例数（接尘工龄不足5年）", "S2 新发尘肺并报告例数", "diagnosis_card", unit="例"),
    _awaited("IND-24", "重大急性职业病危害事故起数", "S2 重大急性职业病危害事故起数", "incident", unit="起"),
    _awaited(
        "IND-25",
        "慢性职业性化学中毒、职业性放射性疾病例数",
        "S2 慢性职业性化学中毒数",
        "diagnosis_card",
        unit="例",
        note="原文两项连写",
    ),
    _awaited("IND-26", "投入使用的子系统数", "S0 等7个子系统", "subsystem", unit="个"),
)
