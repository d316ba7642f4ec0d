"""OGC API - Tiles: the vector tiles at /tiles that a reader may open, as tilesets of WebMercatorQuad. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.ogc.areas import coverage_layers
from api.ogc.documents import JSON, REL, link
from geo import place_tiles
from geo.area_tiles import DEEPEST, FIRST_ZOOM
from geo.point_tiles import LAYERS, may_read
from schema.actor import Actor
from schema.registry import load

MVT = "application/vnd.mapbox-vector-tile"
QUAD = "http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad"
CRS = "http://www.opengis.net/def/crs/EPSG/0/3857"
_EDGE = 20037508.342789244  # metres: half of the equator of WGS 84, EPSG:3857
_PIXELS = 256
_PIXEL_METRES = 0.00028  # the standard's rendering pixel

Document = dict[str, Any]


@dataclass(frozen=True)
class Tileset:
    """What is at an address below /tiles, and the layers inside a tile of it."""

    title: str
    description: str
    address: str
    inside: tuple[str, ...]
    dimension: int = 0  # of its geometries: points
    query: str = ""


_AREAS = Tileset("区划界线", "省、地、县、乡级界线；derived 为真者界线为推算。", "areas", tuple(level.value for level in FIRST_ZOOM), 2)
_FIGURES = {
    "coordinators": ("协管员人数", "各地在岗协管员人数，标在区划处；远看按市、县汇总，近看到乡。"),
    "gaps": ("缺口", "缺少协管员或康复站的乡镇；远看按市、县汇总。reason 为原因。"),
}


def offered(actor: Actor) -> Mapping[str, Tileset]:
    """By name; it depends on the role alone. What is in them depends on the scopes."""
    return {
        "areas": _AREAS,
        **{layer.name: _of_points(layer.name, load()[layer.record].label) for layer in LAYERS.values() if may_read(actor, layer)},
        **{name: Tileset(*said, name, (name,)) for name, said in _FIGURES.items() if place_tiles.may_read(actor, name)},
        **{
            each.id: Tileset(
                each.title, each.description, "areas", (each.level.value,), 2, f"?indicator={each.indicator.id}&level={each.level.value}"
            )
            for each in coverage_layers(actor)
        },
    }


def _of_points(name: str, label: str) -> Tileset:
    return Tileset(label, f"{label}：您有权查看的全部，近看为点，远看或过密处为聚合点（count 为个数）。", name, (name,))


def tilesets(base: str, actor: Actor) -> Document:
    return {"links": [link(f"{base}/tiles", "self")], "tilesets": [_item(base, name, each) for name, each in offered(actor).items()]}


def _item(base: str, name: str, found: Tileset) -> Document:
    return {
        "title": found.title,
        "dataType": "vector",
        "crs": CRS,
        "tileMatrixSetURI": QUAD,
        "links": [link(f"{base}/tiles/{name}", "self"), link(f"{base}/tileMatrixSets/WebMercatorQuad", f"{REL}/tiling-scheme")],
    }


def tileset(base: str, name: str, found: Tileset) -> Document:
    """The metadata of one tileset. Our addresses have the column before the row, as maps do; the template says so."""
    root, item = base.removesuffix("/ogc"), _item(base, name, found)
    tiles = f"{root}/tiles/{found.address}/{{tileMatrix}}/{{tileCol}}/{{tileRow}}{found.query}"
    return {
        **item,
        "description": found.description,
        "layers": [{"id": each, "dataType": "vector", "geometryDimension": found.dimension} for each in found.inside],
        "links": [*item["links"], {**link(tiles, "item", MVT, found.title), "templated": True}],
    }


def matrix_sets(base: str) -> Document:
    here = f"{base}/tileMatrixSets/WebMercatorQuad"
    return {
        "tileMatrixSets": [
            {"id": "WebMercatorQuad", "title": "Google Maps Compatible for the World", "uri": QUAD, "links": [link(here, "self")]}
        ]
    }


def matrix_set(base: str) -> Document:
    return {
        "id": "WebMercatorQuad",
        "title": "Google Maps Compatible for the World",
        "uri": QUAD,
        "crs": CRS,
        "orderedAxes": ["X", "Y"],
        "wellKnownScaleSet": "http://www.opengis.net/def/wkss/OGC/1.0/GoogleMapsCompatible",
        "tileMatrices": [_matrix(z) for z in range(DEEPEST + 1)],
        "links": [link(f"{base}/tileMatrixSets/WebMercatorQuad", "self", JSON)],
    }


def _matrix(z: int) -> Document:
    cell = 2 * _EDGE / _PIXELS / 2**z
    return {
        "id": str(z),
        "scaleDenominator": cell / _PIXEL_METRES,
        "cellSize": cell,
        "pointOfOrigin": [-_EDGE, _EDGE],
        "tileWidth": _PIXELS,
        "tileHeight": _PIXELS,
        "matrixWidth": 2**z,
        "matrixHeight": 2**z,
    }
