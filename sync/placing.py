"""What geometry says of a record's place, in the write path: one statement for a batch with new positions, none for others.

At once and not behind the feed: a later flag would write, log, queue and stamp each row a second time, and every terminal would
pull it twice; the statement costs a fraction of that (sync/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from geo.placing import Claim, judge
from schema.base import PLACED, Document, Record
from sync.chain import area_of
from sync.rows import Row


async def place(connection: AsyncConnection, record: Record, rows: Sequence[Row]) -> None:
    """Sets `place_check`, `place_area_code` and `place_datum` of rows whose position or scopes have changed."""
    waiting: list[tuple[Document, Claim]] = []
    for row in rows if record.place else ():
        if not row.changed or row.after is None or (record.place not in row.changed and row.scopes == row.scopes_before):
            continue
        claim = claim_of(record, row.after, row.scopes)
        if claim is None:
            row.after.update(dict.fromkeys(PLACED))
        else:
            waiting.append((row.after, claim))
    if waiting:
        verdicts = await judge(connection, [claim for _, claim in waiting])
        for (after, _), verdict in zip(waiting, verdicts, strict=True):
            after.update(place_check=verdict.check.value, place_area_code=verdict.area, place_datum=verdict.datum)


def claim_of(record: Record, document: Document, scopes: Sequence[str]) -> Claim | None:
    """What is to be judged of a document; None without a position."""
    point = document[f"{record.place}_wgs84"]
    if point is None:
        return None
    lon, lat = point["coordinates"]
    return Claim(document[record.place], lon, lat, area_of(scopes))
