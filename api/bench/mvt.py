"""Reads Mapbox vector tiles as far as checking them needs: layers, properties, points. Pure.

Source: Mapbox Vector Tile specification 2.1; protobuf wire format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Feature:
    """Properties by name; lines of corners in units of the tile, one for a point, one per ring."""

    properties: dict[str, Any]
    lines: list[list[tuple[int, int]]]

    def area(self) -> float:
        """Of a polygon: positive for rings that turn as the specification asks, less their holes."""
        pairs = ((one, two) for line in self.lines for one, two in zip(line, [*line[1:], line[0]], strict=True))
        return sum(x * v - u * y for (x, y), (u, v) in pairs) / 2


def layers(tile: bytes) -> dict[str, list[Feature]]:
    """Features by layer."""
    return dict(_layer(content) for number, content in _fields(tile) if number == 3)


def _layer(content: bytes) -> tuple[str, list[Feature]]:
    name, keys, values, features = "", [], [], []
    for number, value in _fields(content):
        if number == 1:
            name = value.decode()
        elif number == 2:
            features.append(dict(_fields(value)))
        elif number == 3:
            keys.append(value.decode())
        elif number == 4:
            values.append(_value(value))
    return name, [_feature(each, keys, values) for each in features]


def _feature(fields: dict[int, Any], keys: list[str], values: list[Any]) -> Feature:
    tags = list(_varints(fields.get(2, b"")))
    said = {keys[key]: values[value] for key, value in zip(tags[::2], tags[1::2], strict=True)}
    return Feature(said, _lines(list(_varints(fields.get(4, b"")))))


def _lines(commands: list[int]) -> list[list[tuple[int, int]]]:
    lines: list[list[tuple[int, int]]] = []
    at = x = y = 0
    while at < len(commands):
        kind, count = commands[at] & 7, commands[at] >> 3
        at += 1
        for _ in range(count if kind != 7 else 0):  # 1 moves to a new line, 2 goes on, 7 closes
            x, y, at = x + _signed(commands[at]), y + _signed(commands[at + 1]), at + 2
            if kind == 1:
                lines.append([])
            lines[-1].append((x, y))
    return lines


def _value(content: bytes) -> Any:
    [(number, value)] = _fields(content)
    if number == 1:
        return value.decode()
    if number in (2, 3):
        return struct.unpack("<f" if number == 2 else "<d", value)[0]
    return _signed(value) if number == 6 else bool(value) if number == 7 else value


def _signed(number: int) -> int:
    return number >> 1 ^ -(number & 1)


def _varints(content: bytes) -> Iterator[int]:
    at = 0
    while at < len(content):
        number, at = _varint(content, at)
        yield number


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        number, shift, at = number | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return number, at


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(content):
        head, at = _varint(content, at)
        kind = head & 7
        if kind == 0:
            value: Any
            value, at = _varint(content, at)
        else:
            size, at = _varint(content, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = content[at : at + size], at + size
        yield head >> 3, value
