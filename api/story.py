"""The field day: real RxDB terminals work offline, network and server fail them, and everything is found right afterwards.

`python -m api story` plays it against a server of its own. Each run is a new day: it takes the enterprise with the fewest visits
and makes new documents, so it may be repeated on the same data.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api import cluster
from api.server_process import ServerError, ServerProcess
from api.settings import Settings
from api.story_checks import compare
from api.story_day import COUNTY, CREW, OFFICERS, Day, Document, Person
from api.story_devices import BLOCK, hand_in, lose_terminal, write_numbered
from api.terminal import TerminalError
from geo.coordinates import Datum, from_wgs84
from sync.identity import uuid7

COUNTY_CENTRE = (125.35, 43.86)  # lon, lat, WGS 84; for an enterprise without a position
INDICATOR = "COORDINATOR-TOWNSHIPS"
HAZARDS = ("DUST-SILICA", "DUST-COAL", "DUST-WELDING", "CHEM-BENZENE", "CHEM-CO", "PHYS-NOISE", "PHYS-HEAT", "PHYS-VIBRATION")
APPOINTED = "演示新任"  # begins the names of those whom a field day appoints, and of nobody else
QUIET_SECONDS = 120.0
LONGEST_SECONDS = 600.0


def main(settings: Settings, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m api story", description="Play the field day against a server of its own on HOST and PORT.")
    parser.parse_args(arguments)
    try:
        with cluster.running(settings) as url, ServerProcess(replace(settings, database_url=url)) as server:
            return 0 if asyncio.run(run(server.url, server, Console(soft_wrap=True))) else 1
    except (cluster.ClusterError, ServerError) as error:
        print(error, file=sys.stderr)
        return 1


async def run(base_url: str, server: ServerProcess, console: Console) -> bool:
    """Play one field day against the running `server`, which is killed and started again; whether everything was found right.

    `base_url` is http://host:port.
    """
    day = Day(f"{base_url.rstrip('/')}/graphql", server, console)
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            await _steps(day)
    except (TerminalError, ServerError, TimeoutError) as error:
        day.check("外勤日中断", False, str(error) or "超时")
    finally:
        await day.go_home()
    if day.failures:
        console.print(f"外勤日有 {day.failures} 项不符", style="bold red")
    else:
        console.print("外勤日全部通过", style="bold green")
    return not day.failures


async def _steps(day: Day) -> None:
    steps: tuple[tuple[str, Callable[[Day], Awaitable[None]]], ...] = (
        ("登录，把全县数据带到外勤（首次同步）", take_offline),
        ("出发前的覆盖情况", cover_before),
        ("离线：两名执法员改同一家企业", edit_apart),
        ("离线：执法员甲做监督检查，位置为 GCJ-02", inspect),
        ("离线：两台终端从各自预留的号段取文书编号", write_numbered),
        ("离线：协管员上报新企业；在线：主管聘任协管员", report_and_appoint),
        ("恢复网络：丢失一次应答，推送途中 kill -9 服务器", lose_and_kill),
        ("全部重新连上，同步到安静", settle),
        ("核对", compare),
        ("收队：未用的文号退回", hand_in),
        ("一台终端丢失：主管停用，终端自行清除", lose_terminal),
        ("回来后的覆盖情况", cover_after),
    )
    for number, (title, step) in enumerate(steps, start=1):
        day.console.print(f"{number}. {title}", style="bold", highlight=False)
        await step(day)


async def take_offline(day: Day) -> None:
    await day.sign_in("changchun", day.url)
    columns = (TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("条"), TimeElapsedColumn())
    with Progress(*columns, console=day.console) as progress:
        await asyncio.gather(*(_fill(day, name, progress) for name in CREW))
    for name in CREW:
        person = day.crew[name]
        counts, totals = await person.terminal.call("count"), await person.totals()
        detail = counts if counts == totals else f"终端 {counts}，服务器 {totals}"
        day.check(f"{CREW[name]}带走 {sum(counts.values()):,} 条，与服务器的数目相同", counts == totals, detail)
    reports = [await day.crew[name].terminal.call("report") for name in OFFICERS]
    day.check("两名执法员的终端各以自己的密钥签名", all(report["enrolled"] for report in reports))
    for name in (*OFFICERS, "coordinator1"):
        day.crew[name].proxy.cut()


async def _fill(day: Day, name: str, progress: Progress) -> None:
    bar = progress.add_task(CREW[name], total=None)
    person = await day.send_out(name, lambda event: progress.advance(bar, event.get("documents", 0)))
    progress.update(bar, total=sum((await person.totals()).values()))
    person.fields = await person.terminal.call("open", collections=person.collections)
    await person.terminal.call("sync", within=300)
    if name in OFFICERS:
        await person.terminal.call("reserve", **BLOCK)


async def cover_before(day: Day) -> None:
    day.coverage = await _coverage(day)
    if all(value["numerator"] for value in day.coverage.values()):
        await _end_one(day)
        day.coverage = await _coverage(day)
    day.tell(f"{_covered(day.coverage)} / {len(day.coverage)} 个乡镇（街道）有在岗协管员")


async def _coverage(day: Day) -> dict[str, Document]:
    query = """query ($indicator: ID!, $area: ID!) {
        coverage(indicator: $indicator, area: $area, level: TOWNSHIP) { area { code name } numerator denominator } }"""
    values = (await day.ask_desk(query, indicator=INDICATOR, area=COUNTY))["coverage"]
    return {value["area"]["code"]: value for value in values if value["denominator"]}


async def _end_one(day: Day) -> None:
    """Every township has somebody: one whom an earlier day appointed leaves, so that this day can appoint again."""
    wanted = f"""{{status: {{eq: ACTIVE}}, name: {{startsWith: "{APPOINTED}"}}, within: "{COUNTY}"}}"""
    found = (await day.ask_desk(f"{{ coordinators(first: 1, filter: {wanted}) {{ nodes {{ id name }} }} }}"))["coordinators"]["nodes"]
    if found:
        await _save_coordinator(day, {"id": found[0]["id"], "status": "ENDED", "endedOn": _today()})
        day.tell(f"各乡镇都有协管员，{found[0]['name']} 今天离任")


async def _save_coordinator(day: Day, values: Document) -> Document:
    query = "mutation ($input: CoordinatorInput!) { saveCoordinator(input: $input) { id areaCode status } }"
    saved: Document = (await day.ask_desk(query, input=values))["saveCoordinator"]
    return saved


def _covered(values: Mapping[str, Document]) -> int:
    return sum(bool(value["numerator"]) for value in values.values())


async def edit_apart(day: Day) -> None:
    before = day.enterprise = await _choose(day)
    hazards = before["hazards"] or []
    fresh = [code for code in HAZARDS if code not in hazards] or [f"X{day.number}"]
    phone, address = f"000-{secrets.randbelow(10**8):08d}", f"{before['name'][:40]}厂区（{day.number} 核实）"
    day.losing, day.winning = f"甲：除尘设备已检修（{day.number}）", f"乙：除尘设备待检修（{day.number}）"
    await _edit(day, "inspector1", set={"contactPhone": phone, "remark": day.losing}, add={"hazards": fresh[:1]}, increase={"visits": 1})
    await asyncio.sleep(0.05)  # so that the later edit is later by the clock
    await _edit(day, "inspector2", set={"address": address, "remark": day.winning}, add={"hazards": fresh[-1:]}, increase={"visits": 2})
    day.expected = {
        "contactPhone": phone,
        "address": address,
        "remark": day.winning,
        "hazards": sorted({*hazards, fresh[0], fresh[-1]}),
        "visits": (before["visits"] or 0) + 3,
    }
    day.tell(f"{before['name']}：甲改电话和备注，加危害 {fresh[0]}，到访 +1；乙稍后改地址和备注，加危害 {fresh[-1]}，到访 +2")


async def _choose(day: Day) -> Document:
    """The enterprise with the fewest visits, in the coordinator's township where there is one."""
    near = await day.crew["coordinator1"].documents("enterprise")
    county = await day.crew["inspector1"].documents("enterprise")
    candidates = [county[key] for key in near if key in county] or list(county.values())
    if not candidates:
        raise TerminalError(f"{COUNTY} 没有企业：先运行 python -m api seed")
    return min(candidates, key=lambda document: (document["visits"] or 0, document["id"]))


async def _edit(day: Day, name: str, **change: Any) -> None:
    await day.crew[name].terminal.call("edit", collection="enterprise", id=day.enterprise["id"], **change)


async def inspect(day: Day) -> None:
    place = day.enterprise.get("locationWgs84")
    day.point = (place["coordinates"][0], place["coordinates"][1]) if place else COUNTY_CENTRE
    lon, lat = from_wgs84(*day.point, Datum.GCJ02)
    visit = {
        "enterpriseId": day.enterprise["id"],
        "kind": "ROUTINE",
        "state": "SIGNED",
        "inspectedAt": _now(),
        "officers": list(OFFICERS),
        "location": {"lon": lon, "lat": lat, "datum": "GCJ02", "accuracy": 8, "provider": "gps", "taken_at": _now()},
        "checklist": [{"id": "1", "item": "警示标识", "result": "NO", "note": "喷漆间缺失"}],
        "result": "CORRECTED",
        "opinion": f"责令限期改正（{day.number}）",
    }
    inspection_id = (await day.insert("inspector1", "inspection", visit))["id"]
    for description in ("喷漆间未设警示标识", "除尘设备滤袋破损"):
        await day.insert("inspector1", "finding", _finding(day, inspection_id, description))
    day.tell(f"一次检查、两条隐患；手机显示 {lon:.6f}, {lat:.6f}（GCJ-02）")


def _finding(day: Day, inspection_id: str, description: str) -> Document:
    return {
        "enterpriseId": day.enterprise["id"],
        "inspectionId": inspection_id,
        "source": "INSPECTION",
        "severity": "MAJOR",
        "state": "OPEN",
        "description": f"{description}（{day.number}）",
        "responsible": "演示负责人",
        "deadlineOn": (datetime.now(UTC) + timedelta(days=30)).date().isoformat(),
    }


async def report_and_appoint(day: Day) -> None:
    area = day.crew["coordinator1"].user["areas"][0]
    name = f"演示新报企业 {day.number}（虚构）"
    values = {"name": name, "areaCode": area["code"], "status": "OPERATING", "source": "COORDINATOR", "visits": 1, "hazards": [HAZARDS[0]]}
    enterprise_id = (await day.insert("coordinator1", "enterprise", values))["id"]
    seen = {"enterpriseId": enterprise_id, "state": "REPORTED", "patrolledAt": _now(), "declared": False, "lead": f"未申报（{day.number}）"}
    await day.insert("coordinator1", "patrol", seen)
    day.tell(f"协管员在{area['name']}上报 {name}，并附一次巡查")
    await _appoint(day)


async def _appoint(day: Day) -> None:
    empty = next((code for code, value in sorted(day.coverage.items()) if not value["numerator"]), None)
    if empty is None:
        day.tell("没有缺协管员的乡镇，今天不聘任")
        return
    values = {"name": f"{APPOINTED}{day.number}", "areaCode": empty, "status": "ACTIVE", "appointedOn": _today(), "demo": True}
    saved = await _save_coordinator(day, {"id": uuid7(datetime.now(UTC)), **values})
    day.made["coordinator"] = [saved["id"]]
    day.check(f"主管聘任 {values['name']} 负责{day.coverage[empty]['area']['name']}", saved["areaCode"] == empty)


async def lose_and_kill(day: Day) -> None:
    await _lose_answer(day, day.crew["inspector2"])
    await _kill_during(day, day.crew["inspector1"])
    day.crew["coordinator1"].proxy.restore()
    await asyncio.sleep(1)  # everybody meets a dead server meanwhile
    await asyncio.to_thread(day.server.start)
    await asyncio.to_thread(day.server.wait_ready)
    day.tell("服务器重新就绪")


async def _lose_answer(day: Day, person: Person) -> None:
    lost = person.proxy.swallow("pushEnterprise")
    person.proxy.restore()
    await asyncio.wait_for(lost.finished.wait(), 60)
    day.tell(f"{CREW[person.name]}的推送到了服务器，应答丢失")
    await person.terminal.call("sync")
    day.tell(f"{CREW[person.name]}自动重发并完成")


async def _kill_during(day: Day, person: Person) -> None:
    struck = person.proxy.watch("pushEnterprise")
    person.proxy.restore()
    await asyncio.wait_for(struck.forwarded.wait(), 60)
    day.server.kill()
    day.tell(f"{CREW[person.name]}的推送刚到服务器，服务器被 kill -9")


async def settle(day: Day) -> None:
    """Sync everybody until two rounds in a row leave the same documents."""
    people = day.crew.values()
    rounds: list[list[Any]] = [[], [None]]
    async with asyncio.timeout(QUIET_SECONDS):
        while rounds[-1] != rounds[-2]:
            await asyncio.gather(*(person.terminal.call("sync") for person in people))
            await asyncio.sleep(0.5)  # for what the last push set in motion
            rounds.append([await person.terminal.call("digest") for person in people])
    day.tell(f"{len(rounds) - 2} 轮之后没有变化")


async def cover_after(day: Day) -> None:
    after = await _coverage(day)
    table = Table("乡镇（街道）", "代码", "出发前", "回来后", title="在岗协管员")
    for code, value in sorted(day.coverage.items()):
        old, new = (bool(values.get(code, {}).get("numerator")) for values in (day.coverage, after))
        style = "green" if new > old else "red" if not new else ""
        table.add_row(value["area"]["name"], code, "有" if old else "无", "有" if new else "无", style=style)
    day.console.print(table)
    was, is_now = _covered(day.coverage), _covered(after)
    risen = len(day.made.get("coordinator", ()))
    day.check(f"覆盖的乡镇 {was} → {is_now}（共 {len(after)}），随聘任增加", is_now - was == risen)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
