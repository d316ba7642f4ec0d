"""The canonical JSON form of a column's value. Pure: no session, no clock.

Two values are the same edit exactly when their canonical forms are equal; the forms are those that PostgreSQL's
`row_to_json` prints in UTC, so that what a device sends and what the server stores compare without conversion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

from schema.base import Column, Document, Kind, Record
from schema.problems import Problem

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_AREA = re.compile(r"[0-9]{6}|[0-9]{9}|[0-9]{12}|J[0-9A-Z]{1,20}")  # \d would let full-width digits in
_unstorable = re.compile("[\x00\ud800-\udfff]").search
_NOT_STORABLE = "含有不能保存的字符"
_PRINTED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,5}[1-9])?\+00:00")
Converter = Callable[[Column, Any], Any]
_INT32 = 2**31
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_TAGS = 500
_MOST_ITEMS = 500
_DEEPEST = 64  # levels of a refused value; PostgreSQL and orjson stop far beyond
_DATUMS = frozenset({"WGS84", "CGCS2000", "GCJ02", "BD09"})


def canonical(column: Column, value: Any) -> Any:
    """`value` in the column's canonical form; None stays None.

    Raises ValueError with a sentence that names what is wrong.
    """
    if value is None:
        return None
    return _CANONICAL[column.kind](column, value)


def canonical_document(record: Record, values: Document) -> tuple[Document, list[Problem]]:
    """The known columns of `values` in canonical form, and a problem for each that has none; unknown names are left out."""
    converters = _converters(record)
    document: Document = {}
    problems: list[Problem] = []
    for name, value in values.items():
        if name not in converters:
            continue
        if value is None:
            document[name] = None
            continue
        convert, column = converters[name]
        try:
            document[name] = convert(column, value)
        except ValueError as error:
            problems.append(Problem("VALUE_INVALID", f"{column.label}（{name}）{error}", name))
    return document, problems


@cache
def _converters(record: Record) -> Mapping[str, tuple[Converter, Column]]:
    # Found once per record: hashing an Enum member is a call of Python's, and a batch of 1,000 documents would make 30,000.
    return {column.name: (_CANONICAL[column.kind], column) for column in record.all_columns}


def timestamp(at: datetime) -> str:
    """`at` as PostgreSQL prints it in JSON with TimeZone UTC."""
    text = at.astimezone(UTC).isoformat(timespec="microseconds")
    whole, fraction = text[:19], text[20:26].rstrip("0")
    return f"{whole}.{fraction}+00:00" if fraction else f"{whole}+00:00"


def area_code(text: str) -> str:
    """The shortest form of a division code: 6 digits to county level, 9 for a township, 12 for a village.

    Raises ValueError for anything else that isn't a jurisdiction code (`J...`).
    """
    if not _AREA.fullmatch(text):
        raise ValueError("不是有效的行政区划或管辖区代码：应为 6、9 或 12 位数字，或 J 开头的管辖区代码")
    if len(text) == 12 and text.endswith("000") and text[0] != "J":
        text = text[:9]
    if len(text) == 9 and text.endswith("000") and text[0] != "J":
        text = text[:6]
    return text


def identifier(value: Any) -> str:
    """A UUID as PostgreSQL prints it. Raises ValueError for anything else."""
    text = value.lower() if isinstance(value, str) else ""
    if not _UUID.fullmatch(text):
        raise ValueError("应为 UUID 字符串")
    return text


def _id(_: Column, value: Any) -> str:
    return identifier(value)


def _text(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("应为文字")
    if len(value) > column.max_length:
        raise ValueError(f"最多 {column.max_length} 个字符，收到 {len(value)} 个")
    if _unstorable(value):
        raise ValueError(_NOT_STORABLE)
    return value


def storable(value: Any, depth: int = 0) -> Any:
    """Any JSON value as near as JSONB can keep it: for what is refused and must not be lost."""
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    if isinstance(value, (list, tuple)):
        return [storable(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {storable(str(key)): storable(item, depth + 1) for key, item in value.items()}
    plain = value is None or isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63)
    return value if plain or (isinstance(value, float) and math.isfinite(value)) else str(value)


def _storable(value: str) -> str:
    if _unstorable(value):
        raise ValueError(_NOT_STORABLE)
    return value


def _integer(column: Column, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -_INT32 <= value < _INT32:
        raise ValueError("应为整数（32 位以内）")
    if column.minimum is not None and value < column.minimum:
        raise ValueError(f"不得小于 {column.minimum}")
    if column.maximum is not None and value > column.maximum:
        raise ValueError(f"不得大于 {column.maximum}")
    return value


def _decimal(column: Column, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("应为小数（以字符串表示）")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("应为小数（以字符串表示）") from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or number.adjusted() > 14 or exponent < -12:
        raise ValueError("应为整数部分不超过 15 位、小数不超过 12 位的有限小数")
    if (column.minimum is not None and number < column.minimum) or (column.maximum is not None and number > column.maximum):
        raise ValueError(f"应在 {column.minimum} 与 {column.maximum} 之间")
    return format(number.normalize() + 0, "f")


def _boolean(_: Column, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("应为 true 或 false")
    return value


def _date(_: Column, value: Any) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise ValueError("应为日期 YYYY-MM-DD") from None


def _timestamp(_: Column, value: Any) -> str:
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise ValueError
        return str(value) if _PRINTED.fullmatch(value) else timestamp(at)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("应为带时区的时间（ISO 8601）") from None


def _choice(column: Column, value: Any) -> str:
    if column.choice is None or not isinstance(value, str) or value not in column.choice.values:
        allowed = "、".join(sorted(column.choice.values)) if column.choice else ""
        raise ValueError(f"应为其中之一：{allowed}")
    return value


def _area(_: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("应为区划代码")
    return area_code(value)


def _position(_: Column, value: Any) -> Document:
    if not isinstance(value, dict):
        raise ValueError("应为位置对象 {lon, lat, datum, accuracy, provider, taken_at}")
    lon, lat, accuracy = value.get("lon"), value.get("lat"), value.get("accuracy")
    if not _within(lon, 180) or not _within(lat, 90):
        raise ValueError("经度应在 ±180、纬度应在 ±90 之间")
    if not isinstance(value.get("datum"), str) or value["datum"] not in _DATUMS:
        raise ValueError("须注明坐标系 datum：WGS84、CGCS2000、GCJ02 或 BD09")
    if accuracy is not None and (not _within(accuracy, 1e6) or accuracy < 0):
        raise ValueError("精度 accuracy 应为非负米数")
    taken_at = value.get("taken_at", value.get("takenAt"))
    provider = value.get("provider")
    return {
        "lon": lon,
        "lat": lat,
        "datum": value["datum"],
        "accuracy": accuracy,
        "provider": None if provider is None else _storable(str(provider)[:40]),
        "taken_at": None if taken_at is None else _timestamp(_, taken_at),
    }


def _within(value: Any, bound: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and abs(value) <= bound


def _point(_: Column, value: Any) -> Any:
    return value  # server-owned: whatever a client sends is ignored by the merge


def _tags(column: Column, value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > _MOST_TAGS:
        raise ValueError(f"应为不超过 {_MOST_TAGS} 个文字的列表")
    return sorted({_text(column, item) for item in value})


def _items(column: Column, value: Any) -> list[Document]:
    if not isinstance(value, list) or len(value) > _MOST_ITEMS:
        raise ValueError(f"应为不超过 {_MOST_ITEMS} 项的列表")
    ids = [item.get("id") if isinstance(item, dict) else None for item in value]
    if not all(isinstance(item_id, str) and item_id for item_id in ids) or len(set(ids)) != len(ids):
        raise ValueError("每一项须有各不相同的 id")
    return [_json_of(_file(item) if column.evidence else item) for item in value]


def _file(item: Document) -> Document:
    """An item that names a file; the hash in lower case."""
    sha256, size, media_type = (item.get(name) for name in ("sha256", "size", "media_type"))
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
        raise ValueError("每一项须有文件的 sha256（64 位十六进制）")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**53):
        raise ValueError("文件大小 size 应为字节数")
    if media_type is not None and (not isinstance(media_type, str) or len(media_type) > 100):
        raise ValueError("文件类型 media_type 应为 100 字以内的文字")
    return {**item, "sha256": sha256.lower()}


def _json(_: Column, value: Any) -> Any:
    return _json_of(value)


def _json_of(value: Any, depth: int = 0) -> Any:
    if depth > 16:
        raise ValueError("嵌套过深（最多 16 层）")
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("含有非有限数值")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("含有超过 64 位的整数")
    if isinstance(value, list):
        return [_json_of(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_storable(str(key)): _json_of(item, depth + 1) for key, item in value.items()}
    return value


_CANONICAL: dict[Kind, Converter] = {
    Kind.ID: _id,
    Kind.REF: _id,
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.DECIMAL: _decimal,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.TIMESTAMP: _timestamp,
    Kind.ENUM: _choice,
    Kind.AREA: _area,
    Kind.POSITION: _position,
    Kind.POINT: _point,
    Kind.TAGS: _tags,
    Kind.ITEMS: _items,
    Kind.JSON: _json,
}
