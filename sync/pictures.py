"""What an image tells: its size, where and when the camera says it was taken, and a small picture of it. Pure.

The small picture is drawn anew, so nothing hidden in the original reaches a browser; the original is never changed.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, replace
from typing import Any

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_BYTES = 64 * 1024 * 1024
MOST_PIXELS = 100_000_000  # a phone of 2026 takes 50 million; decoded that is 150 MB
THUMBNAIL_PIXELS = 512
THUMBNAIL_TYPE = "image/jpeg"


@dataclass(frozen=True)
class Look:
    """lon, lat in WGS 84 as EXIF means it; `thumbnail` None and `problem` say that none could be drawn."""

    width: int | None = None
    height: int | None = None
    lon: float | None = None
    lat: float | None = None
    taken_at: str | None = None
    thumbnail: bytes | None = None
    problem: str | None = None


def look(content: bytes) -> Look:
    """Never raises for what the bytes may be."""
    if len(content) > MOST_BYTES:
        return Look(problem="IMAGE_TOO_LARGE")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs below twice its limit; ours is checked before decoding
            return _look(content)
    except Image.DecompressionBombError:
        return Look(problem="IMAGE_TOO_LARGE")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, MemoryError, ArithmeticError, LookupError, TypeError):
        return Look(problem="IMAGE_UNREADABLE")


def _look(content: bytes) -> Look:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        found = Look(image.width, image.height)
        if image.width * image.height > MOST_PIXELS:
            return replace(found, problem="IMAGE_TOO_LARGE")
        found = _with_exif(found, image)
        try:
            return replace(found, thumbnail=_thumbnail(image))
        except (OSError, ValueError, SyntaxError, MemoryError):
            return replace(found, problem="IMAGE_UNREADABLE")


def _with_exif(found: Look, image: Image.Image) -> Look:
    try:
        exif = image.getexif()
        taken = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        lon, lat = _position(exif.get_ifd(ExifTags.IFD.GPSInfo))
    except (ValueError, TypeError, LookupError, ArithmeticError, OSError, SyntaxError):
        return found
    return replace(found, lon=lon, lat=lat, taken_at=str(taken)[:40].replace("\0", "") if taken else None)


def _position(gps: dict[int, Any]) -> tuple[float, float] | tuple[None, None]:
    """Null Island counts as none: cameras without a fix write zeros."""
    keys = ExifTags.GPS
    if not {keys.GPSLatitude, keys.GPSLongitude} <= gps.keys():
        return None, None
    lon = _degrees(gps[keys.GPSLongitude], gps.get(keys.GPSLongitudeRef), "W")
    lat = _degrees(gps[keys.GPSLatitude], gps.get(keys.GPSLatitudeRef), "S")
    if not (-180 <= lon <= 180 and -90 <= lat <= 90) or (lon == 0 and lat == 0):
        return None, None
    return lon, lat


def _degrees(parts: Any, side: Any, negative: str) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    return -value if str(side).strip("\0 ").upper() == negative else value


def _thumbnail(image: Image.Image) -> bytes:
    image.draft("RGB", (2 * THUMBNAIL_PIXELS, 2 * THUMBNAIL_PIXELS))  # a JPEG is decoded small, in a tenth of time and memory
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    upright = ImageOps.exif_transpose(image).convert("RGB")
    drawn = Image.new("RGB", upright.size)
    drawn.paste(upright)
    target = io.BytesIO()
    drawn.save(target, "JPEG", quality=80)
    return target.getvalue()
