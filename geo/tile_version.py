"""A short text that changes when what a tile shows may have: cheap, and only by writes that concern the reader.

It is made of the last position in the feed of the reader's scopes and the layer's records, not of the head, which moves with every write of
the country. What follows the feed is behind it for a moment: meanwhile how far it is belongs to the version.
"""

from __future__ import annotations

from collections.abc import Sequence

from geo.indicators import Engine
from geo.reads import Reads
from schema.indicators import Indicator

_VERSION = """
SELECT concat_ws('/', h.epoch, h.trimmed_pos, l.pos, CASE WHEN l.pos > s.pos OR s.pos IS NULL THEN coalesce(s.pos, -1) END,
  (SELECT md5(string_agg(name || version, ' ' ORDER BY name)) FROM area_source),
  (SELECT concat(count(*), max(set_at)) FROM indicator_target), (now() AT TIME ZONE 'Asia/Shanghai')::date) AS version
  FROM (SELECT max(f.pos) AS pos FROM unnest($1::text[]) c(scope) CROSS JOIN unnest($2::text[]) r(record)
         CROSS JOIN LATERAL (SELECT d.pos FROM sync_scope_doc d WHERE d.scope = c.scope AND d.record = r.record
                              ORDER BY d.pos DESC LIMIT 1) f) l
  LEFT JOIN sync_head h ON true LEFT JOIN {} s ON true"""


async def version(reads: Reads, scopes: Sequence[str], records: Sequence[str], state: str) -> str:
    """Of what readers of `scopes` see of `records`, as far as `state` (indicator_state or map_state) has followed."""
    row = await reads.fetchrow(_VERSION.format(state), list(scopes), list(records))
    return str(row["version"])


def records_of(made: Engine, indicator: Indicator) -> tuple[str, ...]:
    """The records whose changes may change an indicator's values: those counted, and those that they hang on."""
    found: set[str] = set()
    for name in indicator.measures:
        record = made.registry[made.declared.measures[name].record]
        found.add(record.name)
        while record.scope.parent:
            record = made.registry[record.by_name[record.scope.parent].ref]
            found.add(record.name)
    return tuple(sorted(found))
