"""The words of the demo data: industries with their hazards, invented names, what inspections find. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Industry:
    """A GB/T 4754-2017 class with the hazards that its demo enterprises have; shares are invented."""

    code: str
    trade: str
    severe: bool
    share: int
    hazards: tuple[str, ...]
    workplaces: tuple[str, ...]


INDUSTRIES = (
    Industry(
        "0610", "煤矿", True, 3, ("DUST-SILICA", "DUST-COAL", "PHYS-NOISE", "CHEM-CO", "CHEM-H2S"), ("综采工作面", "掘进工作面", "选煤楼")
    ),
    Industry("0921", "金矿", True, 2, ("DUST-SILICA", "PHYS-NOISE", "CHEM-CYANIDES", "PHYS-VIBRATION"), ("凿岩巷道", "破碎间", "氰化车间")),
    Industry("1011", "石灰石矿", True, 3, ("DUST-LIMESTONE", "DUST-SILICA", "PHYS-NOISE"), ("采场", "破碎站")),
    Industry("1012", "花岗石矿", True, 3, ("DUST-SILICA", "PHYS-NOISE", "PHYS-VIBRATION"), ("采场", "荒料加工区")),
    Industry("1013", "耐火土石矿", True, 1, ("DUST-SILICA", "PHYS-NOISE"), ("采场", "破碎间")),
    Industry("1019", "石英砂矿", True, 3, ("DUST-SILICA", "PHYS-NOISE"), ("采场", "筛分间")),
    Industry("1922", "箱包", True, 2, ("CHEM-BENZENE", "CHEM-TOLUENE", "CHEM-N-HEXANE", "PHYS-NOISE"), ("刷胶工段", "缝制车间")),
    Industry("1952", "皮鞋", True, 2, ("CHEM-BENZENE", "CHEM-TOLUENE", "CHEM-N-HEXANE", "PHYS-NOISE"), ("刷胶工段", "成型车间")),
    Industry("2011", "锯材", False, 6, ("DUST-WOOD", "PHYS-NOISE"), ("锯切车间", "干燥窑")),
    Industry("2021", "胶合板", True, 4, ("DUST-WOOD", "CHEM-FORMALDEHYDE", "PHYS-NOISE"), ("旋切车间", "热压车间", "砂光车间")),
    Industry(
        "2110", "木质家具", True, 7, ("DUST-WOOD", "CHEM-BENZENE", "CHEM-XYLENE", "CHEM-FORMALDEHYDE", "PHYS-NOISE"), ("木工车间", "喷漆房")
    ),
    Industry("2521", "炼焦", True, 1, ("CHEM-COKE-OVEN", "DUST-COAL", "CHEM-CO", "PHYS-HEAT", "PHYS-NOISE"), ("焦炉炉顶", "备煤车间")),
    Industry("2614", "有机化工", True, 4, ("CHEM-BENZENE", "CHEM-METHANOL", "CHEM-ANILINE", "PHYS-NOISE"), ("合成装置区", "罐区")),
    Industry(
        "3011", "水泥", True, 4, ("DUST-CEMENT", "DUST-SILICA", "PHYS-NOISE", "PHYS-HEAT", "CHEM-CO"), ("生料磨", "回转窑", "包装车间")
    ),
    Industry("3032", "石材", True, 6, ("DUST-SILICA", "PHYS-NOISE"), ("切割车间", "磨光车间")),
    Industry("3071", "建筑陶瓷", True, 2, ("DUST-SILICA", "PHYS-NOISE", "PHYS-HEAT"), ("成型车间", "窑炉")),
    Industry("3089", "耐火材料", True, 2, ("DUST-SILICA", "PHYS-NOISE", "PHYS-HEAT"), ("配料车间", "压制车间")),
    Industry("3110", "炼铁", True, 1, ("DUST-SILICA", "CHEM-CO", "PHYS-HEAT", "PHYS-NOISE"), ("高炉", "烧结车间")),
    Industry("3120", "炼钢", True, 1, ("DUST-OTHER", "CHEM-CO", "PHYS-HEAT", "PHYS-NOISE"), ("转炉", "连铸车间")),
    Industry("3140", "铁合金", True, 1, ("CHEM-MANGANESE", "CHEM-CO", "PHYS-HEAT", "PHYS-NOISE"), ("电炉", "破碎间")),
    Industry("3212", "铅锌冶炼", True, 1, ("CHEM-LEAD", "CHEM-SO2", "CHEM-CADMIUM", "PHYS-HEAT"), ("熔炼车间", "电解车间")),
    Industry(
        "3611", "汽车整车", True, 2, ("DUST-WELDING", "CHEM-XYLENE", "CHEM-MANGANESE", "PHYS-NOISE"), ("焊装车间", "涂装车间", "总装车间")
    ),
    Industry(
        "3670",
        "汽车零部件",
        True,
        20,
        ("DUST-WELDING", "DUST-GRINDING", "CHEM-MANGANESE", "PHYS-NOISE"),
        ("焊接车间", "机加车间", "铸造车间"),
    ),
    Industry("3843", "铅蓄电池", True, 1, ("CHEM-LEAD", "CHEM-SULFURIC-ACID", "PHYS-NOISE"), ("铸板车间", "化成车间")),
    Industry("3841", "锂电池", False, 1, ("DUST-GRAPHITE", "CHEM-DICHLOROMETHANE", "PHYS-NOISE"), ("涂布车间", "注液车间")),
)
BRANDS = (
    "松原野",
    "白桦",
    "长岭",
    "春融",
    "雪原",
    "江畔",
    "青松",
    "红旗岗",
    "北辰",
    "沃野",
    "金穗",
    "瑞雪",
    "云杉",
    "鹿鸣",
    "冰城外",
    "天池边",
)
SECOND_BRANDS = (
    "恒达",
    "顺成",
    "永固",
    "新源",
    "宏图",
    "瑞丰",
    "正泰来",
    "百川",
    "中和",
    "启明",
    "安泰",
    "同心",
    "万象",
    "兴隆",
    "嘉禾",
    "远航",
)
SURNAMES = "甲乙丙丁戊己庚辛"
OFFICERS: Mapping[str, Sequence[str]] = {"220102": ("inspector1", "inspector2"), "220103": ("demo-officer", "inspector3")}
SIGNING_IN = (("coordinator1", "220102"), ("coordinator2", "220103"))  # username and county of the coordinators with an account
OTHER_OFFICERS = ("demo-officer", "demo-officer-too")
CHECKS = (
    "管理机构与制度",
    "职业卫生培训",
    "建设项目三同时",
    "危害项目申报",
    "监测检测评价",
    "告知与警示标识",
    "防护设施与用品",
    "职业健康监护",
    "病人处置",
)
FAULTS = (
    "除尘设施未正常运行",
    "未公布检测结果",
    "警示标识缺失",
    "接害人员未全部体检",
    "未按期申报危害项目",
    "未配发防尘口罩",
    "培训记录不全",
    "高毒区无红色警示线",
)
SIZES = (  # floor, span and label of the head counts by 国统字〔2017〕213号; shares are invented
    *((3, 17, "MICRO"),) * 14,
    *((20, 120, "SMALL"),) * 13,
    *((140, 160, "SMALL"),) * 2,
    *((300, 700, "MEDIUM"),) * 2,
    (1000, 4000, "LARGE"),
)
