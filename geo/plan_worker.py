"""`python -m geo.plan_worker`: one planning run in a process of its own, so that it can be killed and slows nobody down.

One line of JSON comes in: kind, inputs, data (folder of the road graph). Lines go out: {"progress", "message"}, at last {"result"} or
{"error"}. When the input closes, whoever asked is gone and the work ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Any

from geo.planning import carry_out
from geo.roads import RoadsError
from geo.travel import Travel, load_roads
from schema.planning import PlanKind

SECONDS_BETWEEN = 0.2


def main() -> None:
    os.nice(10)
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    try:
        _say(result=carry_out(PlanKind(order["kind"]), order["inputs"], travel(order), Teller()))
    except (RoadsError, ValueError) as error:
        _say(error=str(error))


def travel(order: dict[str, Any]) -> Travel:
    """With the roads that the run was started with. Raises ValueError if the file is another by now."""
    wanted = order["inputs"]["roads"]
    roads = load_roads(Path(order["data"])) if wanted else None
    if wanted and (roads is None or roads.digest != wanted):
        raise ValueError("路网文件已更换或不在此节点上，请重新提交。")
    return Travel(roads, order["inputs"]["detour"], order["inputs"]["kmPerHour"])


class Teller:
    """Progress, not more often than somebody can look."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, share: float, what: str) -> None:
        if monotonic() - self.last >= SECONDS_BETWEEN:
            self.last = monotonic()
            _say(progress=share, message=what)


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _end_with_the_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
