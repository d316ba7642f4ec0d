"""Which layers somebody may open: areas of each level, records with a place, indicators that can be counted."""

from __future__ import annotations

from collections.abc import Mapping

from api.ogc.areas import NAMES, AreaLayer, coverage_layers
from api.ogc.layers import Layer
from api.ogc.records import layer_of
from schema.actor import Actor
from schema.problems import Problem, Refused
from schema.registry import Registry, load


def layers(actor: Actor, registry: Registry | None = None) -> Mapping[str, Layer]:
    """By id, in the order in which they are listed. It depends on the role alone; which rows are in them, on the scopes."""
    registry = registry or load()
    records = [layer_of(record, actor.role, registry) for record in registry.values()]
    found: list[Layer] = [layer for layer in records if layer]
    found += [AreaLayer(level) for level in NAMES]
    found += coverage_layers(actor)
    return {layer.id: layer for layer in found}


def layer(actor: Actor, name: str, registry: Registry | None = None) -> Layer:
    """Raises Refused COLLECTION_UNKNOWN, also for one that the role may not open."""
    found = layers(actor, registry).get(name)
    if found is None:
        raise Refused(Problem("COLLECTION_UNKNOWN", f"没有图层 {name}，或您的角色无权查看；图层清单见 /ogc/collections。", "collection"))
    return found
