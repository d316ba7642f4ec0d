"""New enterprises that nobody has, as terminals send them, and the questions that terminals ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from api.bench.client import body
from api.demo_data import BLOCK, Demo
from api.graphql.names import camel, pascal
from schema import registry
from schema.base import Document, Record

RECORD = registry.load()["enterprise"]


def fields(record: Record) -> str:
    """A selection of every column."""
    return " ".join(camel(column.name) for column in record.all_columns)


def pull_of(record: Record) -> str:
    kind = pascal(record.name)
    return f"""query ($checkpoint: CheckpointInput, $limit: Int!) {{
    pull{kind}(checkpoint: $checkpoint, limit: $limit) {{ documents {{ {fields(record)} }} checkpoint {{ token }} }} }}"""


PULL = pull_of(RECORD)
PUSH = f"mutation ($rows: [EnterprisePushRow!]!) {{ pushEnterprise(rows: $rows) {{ {fields(RECORD)} }} }}"


class Stock:
    """Each document is taken once in a run; stamps count up with them."""

    def __init__(self, demo: Demo, device: str, enterprises: int) -> None:
        self.demo, self.device = demo, device
        self.stamps = 0
        self._documents = self._endless(-(-enterprises // BLOCK))

    def take(self, count: int, area_code: str | None = None) -> list[Document]:
        """New documents by column name, of that area if one is given."""
        found = [next(self._documents) for _ in range(count)]
        return [{**document, "area_code": area_code, "location": None} for document in found] if area_code else found

    def rows(self, documents: Sequence[Document]) -> list[dict[str, Any]]:
        """Rows of a push that creates them."""
        return [{"newDocumentState": {**_by_graphql_name(document), "stamp": self.stamp(), "deleted": False}} for document in documents]

    def push(self, count: int, area_code: str | None = None) -> bytes:
        """A request that creates new documents."""
        return body(PUSH, rows=self.rows(self.take(count, area_code)))

    def stamp(self) -> str:
        self.stamps += 1
        return f"{self.device}:{self.stamps}:{int(datetime.now(UTC).timestamp() * 1000)}"

    def _endless(self, number: int) -> Iterator[Document]:
        while True:
            yield from self.demo.block(number, (number + 1) * BLOCK)[0][1]
            number += 1


def _by_graphql_name(document: Document) -> Document:
    return {camel(name): value for name, value in document.items()}
