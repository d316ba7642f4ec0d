"""OGC API - Tiles: the vector tiles at /tiles as tilesets of WebMercatorQuad. Pure."""

from __future__ import annotations

from typing import Any

from api.ogc.documents import JSON, REL, link
from geo.area_tiles import DEEPEST, FIRST_ZOOM

TILESETS = {"areas": ("区划界线", "省、地、县、乡级界线；derived 为真者界线为推算。", tuple(level.value for level in FIRST_ZOOM))}
"""Layer at /tiles: title, description, layers inside a tile."""

MVT = "application/vnd.mapbox-vector-tile"
QUAD = "http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad"
CRS = "http://www.opengis.net/def/crs/EPSG/0/3857"
_EDGE = 20037508.342789244  # metres: half of the equator of WGS 84, EPSG:3857
_PIXELS = 256
_PIXEL_METRES = 0.00028  # the standard's rendering pixel

Document = dict[str, Any]


def tilesets(base: str) -> Document:
    return {"links": [link(f"{base}/tiles", "self")], "tilesets": [_item(base, name) for name in TILESETS]}


def _item(base: str, name: str) -> Document:
    return {
        "title": TILESETS[name][0],
        "dataType": "vector",
        "crs": CRS,
        "tileMatrixSetURI": QUAD,
        "links": [link(f"{base}/tiles/{name}", "self"), link(f"{base}/tileMatrixSets/WebMercatorQuad", f"{REL}/tiling-scheme")],
    }


def tileset(base: str, name: str) -> Document:
    """The metadata of one tileset. Our addresses have the column before the row, as maps do; the template says so."""
    title, description, inside = TILESETS[name]
    root = base.removesuffix("/ogc")
    tiles = f"{root}/tiles/{name}/{{tileMatrix}}/{{tileCol}}/{{tileRow}}"
    return {
        **_item(base, name),
        "description": description,
        "layers": [{"id": each, "dataType": "vector", "geometryDimension": 2} for each in inside],
        "links": [*_item(base, name)["links"], {**link(tiles, "item", MVT, title), "templated": True}],
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
