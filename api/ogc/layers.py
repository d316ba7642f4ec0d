"""A layer: something that a map program opens as one collection. What all layers have, and where they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from api.database import Database
from api.ogc.asked import Asked
from schema.actor import Actor

Schema = Mapping[str, Any]
"""A JSON schema."""

AREA_SCHEMA = {"type": "string", "pattern": "^([0-9]{6}|[0-9]{9}|[0-9]{12}|J[0-9A-Z]{1,20})$", "title": "区划代码"}


@dataclass(frozen=True)
class Source:
    """Where and for whom to read, and when."""

    database: Database
    actor: Actor
    now: datetime


@dataclass(frozen=True)
class Page:
    """Features as GeoJSON texts with commas between; `after` leads to the next page, None: this is the last.

    matched  how many there are on all pages, if it is known
    """

    features: bytes
    count: int
    after: str | None
    matched: int | None = None

    def counted(self, asked: Asked) -> Page:
        """A page that is the first and the last says how many there are."""
        return self if asked.after or self.after else replace(self, matched=self.count)


class Layer(Protocol):
    """What the service asks of a collection. `filters` are its own parameters, `properties` those of its features."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def most(self) -> int: ...
    @property
    def geometry(self) -> str: ...
    @property
    def filters(self) -> Mapping[str, Schema]: ...
    @property
    def chosen(self) -> tuple[str, ...]:
        """Those of `filters` that one feature takes too."""
        ...

    @property
    def properties(self) -> Mapping[str, Schema]: ...
    async def page(self, source: Source, asked: Asked) -> Page: ...
    async def one(self, source: Source, feature_id: str, own: Mapping[str, str]) -> bytes | None: ...


def feature(id_: str, geometry: str, properties: str) -> str:
    """SQL of a GeoJSON feature as text."""
    return f"json_build_object('type', 'Feature', 'id', {id_}, 'geometry', {geometry}, 'properties', {properties})::text"
