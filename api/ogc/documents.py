"""The documents that describe the service: landing page, conformance, collections, OpenAPI definition, schemas. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from api.ogc.asked import DEFAULT_LIMIT
from api.ogc.layers import AREA_SCHEMA, Layer

JSON = "application/json"
GEOJSON = "application/geo+json"
SCHEMA = "application/schema+json"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
PROBLEM = "application/problem+json"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
CHINA = (72.004, 0.8293, 137.8347, 55.8271)  # the box in which China's datums hold: geo/coordinates.py
REL = "http://www.opengis.net/def/rel/ogc/1.0"
TITLE = "职健 Zhijian"
CONFORMS = (
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/queryables",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/queryables-query-parameters",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/tileset",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/tilesets-list",
    "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf/mvt",
)

Document = dict[str, Any]


def link(href: str, rel: str, type_: str = JSON, title: str = "") -> Document:
    return {"href": href, "rel": rel, "type": type_, **({"title": title} if title else {})}


def landing(base: str) -> Document:
    return {
        "title": TITLE,
        "description": "职业健康监督：用人单位、服务站点、区划与各项指标覆盖。",
        "links": [
            link(base, "self"),
            link(f"{base}/api", "service-desc", OPENAPI, "OpenAPI 3.0"),
            link(f"{base}/conformance", "conformance"),
            link(f"{base}/conformance", f"{REL}/conformance"),
            link(f"{base}/collections", "data"),
            link(f"{base}/collections", f"{REL}/data"),
            link(f"{base}/tiles", f"{REL}/tilesets-vector"),
            link(f"{base}/tileMatrixSets", f"{REL}/tiling-schemes"),
        ],
    }


def conformance() -> Document:
    return {"conformsTo": list(CONFORMS)}


def collections(base: str, layers: Iterable[Layer]) -> Document:
    return {"links": [link(f"{base}/collections", "self")], "collections": [collection(base, layer) for layer in layers]}


def collection(base: str, layer: Layer) -> Document:
    here = f"{base}/collections/{layer.id}"
    return {
        "id": layer.id,
        "title": layer.title,
        "description": layer.description,
        "extent": {"spatial": {"bbox": [list(CHINA)], "crs": CRS84}},
        "itemType": "feature",
        "crs": [CRS84],
        "links": [
            link(here, "self"),
            link(f"{here}/items", "items", GEOJSON, layer.title),
            link(f"{here}/queryables", f"{REL}/queryables", SCHEMA),
            link(f"{here}/schema", f"{REL}/schema", SCHEMA),
        ],
    }


def queryables(base: str, layer: Layer) -> Document:
    return {**_schema(f"{base}/collections/{layer.id}/queryables", layer, layer.filters), "additionalProperties": False}


def schema(base: str, layer: Layer) -> Document:
    """What the features are: their properties and the kind of their geometry."""
    place = {"geometry": {"x-ogc-role": "primary-geometry", "format": f"geometry-{layer.geometry.lower()}"}}
    return _schema(f"{base}/collections/{layer.id}/schema", layer, {**place, **layer.properties})


def _schema(here: str, layer: Layer, properties: Mapping[str, Any]) -> Document:
    start = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": here, "type": "object"}
    return {**start, "title": layer.title, "properties": dict(properties)}


def openapi(base: str, layers: Iterable[Layer]) -> Document:
    """The definition for the layers of one role; every parameter that is taken stands in it."""
    paths: Document = {
        "/": _get("落地页", JSON),
        "/conformance": _get("符合的标准", JSON),
        "/api": _get("本定义", OPENAPI),
        "/collections": _get("图层清单", JSON),
        "/tiles": _get("矢量瓦片清单", JSON),
        "/tiles/{tileset}": _get("矢量瓦片说明", JSON, [_in_path("tileset")]),
        "/tileMatrixSets": _get("瓦片方案清单", JSON),
        "/tileMatrixSets/WebMercatorQuad": _get("瓦片方案", JSON),
    }
    for layer in layers:
        paths |= _paths(layer)
    return {
        "openapi": "3.0.3",
        "info": {"title": TITLE, "version": "1.0.0", "description": "OGC API - Features 与 Tiles，只读。经度在前，WGS 84。"},
        "servers": [{"url": base}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "访问令牌或只读令牌（createReadToken）"}},
            "responses": {"problem": {"description": "不能办理；code 与 parameter 说明原因", "content": {PROBLEM: {"schema": _PROBLEM}}}},
        },
    }


_PROBLEM = {
    "type": "object",
    "required": ["code", "status", "title"],
    "properties": {name: {"type": "string"} for name in ("code", "description", "detail", "parameter", "title", "type")}
    | {"status": {"type": "integer"}},
}
_F = {"name": "f", "in": "query", "required": False, "schema": {"type": "string", "enum": ["json", "geojson"]}, "description": "格式"}


def _paths(layer: Layer) -> Document:
    here = f"/collections/{layer.id}"
    one = [_in_path("featureId"), *(_in_query(name, layer.filters[name]) for name in layer.chosen)]
    return {
        here: _get(layer.title, JSON),
        f"{here}/queryables": _get(f"{layer.title}：可筛选的属性", SCHEMA),
        f"{here}/schema": _get(f"{layer.title}：属性", SCHEMA),
        f"{here}/items": _get(layer.description, GEOJSON, _page_parameters(layer)),
        f"{here}/items/{{featureId}}": _get(f"{layer.title}：一个要素", GEOJSON, one),
    }


def _page_parameters(layer: Layer) -> list[Document]:
    numbers = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6}
    most = {"type": "integer", "minimum": 1, "maximum": layer.most, "default": min(DEFAULT_LIMIT, layer.most)}
    return [
        _in_query("limit", most),
        {**_in_query("bbox", numbers), "style": "form", "explode": False},
        _in_query("datetime", {"type": "string"}),
        _in_query("after", {"type": "string", "title": "下一页的起点，由 next 链接给出"}),
        _in_query("within", AREA_SCHEMA),
        *(_in_query(name, each) for name, each in layer.filters.items()),
    ]


def _get(summary: str, type_: str, parameters: Iterable[Document] = ()) -> Document:
    found = {"description": summary, "content": {type_: {"schema": {"type": "object"}}}}
    answers = {"200": found, "default": {"$ref": "#/components/responses/problem"}}
    return {"get": {"summary": summary, "parameters": [_F, *parameters], "responses": answers}}


def _in_query(name: str, schema_: Mapping[str, Any]) -> Document:
    return {"name": name, "in": "query", "required": False, "schema": dict(schema_)}


def _in_path(name: str) -> Document:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
