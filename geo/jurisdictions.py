"""Jurisdictions beside the division tree that our sources name. Data: an administrator completes it in the database.

They have no code of GB/T 2260, so ours start with J. Where the members are not known for sure, the note says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True)
class Jurisdiction:
    """A committee or zone that looks after areas; `members` maps an area's code to where that is known from."""

    code: str
    name: str
    parent: str
    valid_from: date
    other_codes: tuple[str, ...] = ()  # of the same area in the statistical books
    members: dict[str, str] = field(default_factory=dict)


_LENT = "托管乡镇，按名称与统计用代码对应，范围未经确认"
_CHANGBAISHAN = date(2006, 1, 1)

JURISDICTIONS = (
    Jurisdiction("J220001", "长白山保护开发区管委会", "220000", _CHANGBAISHAN),
    # The statistical books list the three districts beside these towns; the Ministry's tree has the towns alone.
    Jurisdiction("J220002", "长白山保护开发区池北区", "J220001", _CHANGBAISHAN, ("222426120",), {"222426102": f"二道白河镇：{_LENT}"}),
    Jurisdiction("J220003", "长白山保护开发区池西区", "J220001", _CHANGBAISHAN, ("220621120",), {"220621107": f"东岗镇：{_LENT}"}),
    Jurisdiction("J220004", "长白山保护开发区池南区", "J220001", _CHANGBAISHAN, ("220621121",), {"220621108": f"漫江镇：{_LENT}"}),
    # Their sources name the zones, not their towns: no members until somebody who knows enters them.
    Jurisdiction("J512001", "资阳高新技术产业开发区", "512000", date(2012, 1, 1)),
    Jurisdiction("J512002", "资阳临空经济区", "512000", date(2016, 1, 1)),
)
