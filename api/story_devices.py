"""The field day's devices: document numbers from blocks taken offline, and a terminal that is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from api.fault_proxy import FaultProxy
from api.story_day import COUNTY, CREW, OFFICERS, PASSWORD, RETRY_MS, Day, Document
from api.terminal import Terminal, TerminalError

SERIES: dict[str, Any] = {"series": "JC", "area": COUNTY}
BLOCK: dict[str, Any] = {**SERIES, "count": 5}
OWNER = "inspector2"  # of the terminal that is lost
HELD_BACK_SECONDS = 60.0  # longer than the lost terminal lives
WIPE_SECONDS = 20.0


async def write_numbered(day: Day) -> None:
    for name in OFFICERS:
        made = [await day.insert(name, "inspection", _visit(day, name), number=_number()) for _ in range(2)]
        day.numbers += [document["documentNumber"] for document in made]
        day.tell(f"{CREW[name]}：{'、'.join(document['documentNumber'] for document in made)}")


def _visit(day: Day, name: str) -> Document:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    kept = {"enterpriseId": day.enterprise["id"], "kind": "RECHECK", "state": "DRAFT", "inspectedAt": at, "officers": [name]}
    return {**kept, "opinion": f"复查（{day.number}）"}


def _number() -> Document:
    return {"field": "documentNumber", **SERIES}


async def hand_in(day: Day) -> None:
    settled = [await day.crew[name].terminal.call("settle", reason="外勤结束") for name in OFFICERS]
    blocks = await _blocks(day, {day.device_id(name) for name in OFFICERS})
    open_ended = [block for block in blocks if block["used"] + block["settled"] != block["last"] - block["first"] + 1]
    right = not open_ended and sum(block["used"] for block in blocks) == len(day.numbers)
    day.check(f"退回 {sum(one['returned'] for one in settled)} 个未用文号，每个号都有去向", right, open_ended or "")


async def lose_terminal(day: Day) -> None:
    """It has written something that the network holds back, then it is gone."""
    with TemporaryDirectory(prefix="zhijian-story-") as place:
        folder = Path(place) / "terminal"
        wiped = asyncio.Event()
        terminal = await _lost(day, folder, lambda event: wiped.set() if event["event"] == "wipeConfirmed" else None)
        written = await terminal.call("insert", collection="inspection", document=_visit(day, OWNER), number=_number())
        unsent = (await terminal.call("report"))["unsent"]
        day.tell(f"写了 1 份检查（{written['documentNumber']}），还没有发出，终端就丢了；主管停用它")
        await day.ask_desk('mutation ($id: ID!) { revokeDevice(id: $id, reason: "外勤途中丢失") }', id=day.device_id("lost"))
        day.check("它的下一次请求被拒绝", *await _refused(terminal))
        await asyncio.wait_for(wiped.wait(), WIPE_SECONDS)
        day.check("它清除了文档、密钥和令牌，并向服务器回报", not folder.exists())
    await _known_as_unknown(day, unsent, written["id"])
    await _void(day)


async def _lost(day: Day, folder: Path, listener: Any) -> Terminal:
    proxy = FaultProxy(day.url)
    day.proxies.append(proxy)
    await proxy.start()
    options = {"deviceId": day.device_id("lost"), "folder": str(folder), "retryTime": RETRY_MS}
    terminal = day.terminals["lost"] = await Terminal.start("lost", proxy.url, listener=listener, **options)
    await day.enrol(terminal, await terminal.call("login", username=OWNER, password=PASSWORD))
    await terminal.call("reserve", **SERIES, count=3)
    proxy.delay("pushInspection", HELD_BACK_SECONDS)
    await terminal.call("open", collections=["inspection"])
    return terminal


async def _refused(terminal: Terminal) -> tuple[bool, str]:
    try:
        await terminal.call("ask", query="{ me { username } }")
    except TerminalError as error:
        said = str(error)
        return "DEVICE_REVOKED" in said or "wiped" in said, ""
    return False, "它还能用"


async def _known_as_unknown(day: Day, unsent: int, document_id: str) -> None:
    fields = "id unsent unsentUnknownSince revokedFor wipedAt"
    listed: list[Document] = (await day.ask_desk(f"{{ devices {{ {fields} }} }}"))["devices"]
    found = next(device for device in listed if device["id"] == day.device_id("lost"))
    right = (found["unsent"], unsent) == (1, 1) and found["unsentUnknownSince"] and found["wipedAt"]
    day.check("主管的设备清单：1 份未发送，此后的内容未知，清除已确认", bool(right), found["revokedFor"] if right else found)
    arrived = (await day.ask_desk(f'{{ inspection(id: "{document_id}") {{ id }} }}'))["inspection"]
    day.check("没有发出的检查没有到达服务器", arrived is None, arrived or "")


async def _void(day: Day) -> None:
    """Nobody knows what it wrote on paper, so its numbers serve nobody again."""
    (block,) = await _blocks(day, {day.device_id("lost")})
    query = """mutation ($id: ID!, $numbers: [Int!]!) {
        settleNumbers(blockId: $id, numbers: $numbers, fate: VOID, reason: "终端丢失") }"""
    numbers = list(range(block["first"], block["last"] + 1))
    done = (await day.ask_desk(query, id=block["id"], numbers=numbers))["settleNumbers"]
    day.check(f"它手里的 {len(numbers)} 个文号由主管作废", done == len(numbers), done)


async def _blocks(day: Day, devices: set[str]) -> list[Document]:
    listed: list[Document] = (await day.ask_desk("{ numberBlocks { id deviceId first last used settled } }"))["numberBlocks"]
    return [block for block in listed if block["deviceId"] in devices]
