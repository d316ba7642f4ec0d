"""Demo data: invented documents of one province, the same bytes from the same seed and areas. Pure: no session, no clock.

Nothing here is real: names begin with 演示, credit codes stand in an organisation-code block that nobody was given (XX),
telephone numbers begin with 000, resident numbers with 999999. Documents are in canonical form (`schema.values`).
Enterprises come in blocks that depend on (seed, block) alone, so that any block can be made, or left out, by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from itertools import groupby
from random import Random

import numpy as np
from numpy.typing import NDArray

from api import demo_words as words
from api.demo_words import INDUSTRIES, Industry
from geo.coordinates import Datum, Position, from_wgs84
from schema.base import Document
from schema.identifiers import CREDIT_CODE_ALPHABET

Floats = NDArray[np.float64]

BLOCK = 1000
"""Enterprises per block."""

TODAY = date(2026, 11, 1)
"""The day on which the invented world is seen; the data never look at the clock."""

_BORN_MS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)
_MASK = (1 << 64) - 1
_JITTER = 0.0015  # degrees around a spot, below 170 m: spots are taken 400 m inside their county
_DAYS = tuple((TODAY - timedelta(days=ago)).isoformat() for ago in range(4096))
_REMARK = "演示数据，纯属虚构"
_INSTITUTIONS = (("EXAM", "职业健康检查中心"), ("DIAGNOSIS", "职业病诊断中心"), ("SUPERVISION", "卫生监督所"), ("CDC", "疾病预防控制中心"))
Batch = tuple[str, list[Document]]
"""A record's name and its documents."""


@dataclass(frozen=True)
class Township:
    """A township and the spots (lon, lat, WGS 84) around which its enterprises stand."""

    code: str
    name: str
    county: str
    county_name: str
    spots: tuple[Position, ...]


@dataclass(frozen=True)
class CountyRow:
    """A county as read from the areas: `spots` lie inside its boundary."""

    code: str
    name: str
    spots: Sequence[Position]


@dataclass(frozen=True)
class TownshipRow:
    code: str
    name: str
    county: str
    point: Position | None


def arrange(counties: Sequence[CountyRow], townships: Sequence[TownshipRow]) -> tuple[Township, ...]:
    """Townships in order of code, each with the spots of its county that are nearest to it.

    A township without a point gets an invented centre: the spot farthest from those already taken. A county without
    spots leaves its townships with none, and their enterprises without position.
    """
    known = {county.code: county for county in counties}
    ordered = sorted((row for row in townships if row.county in known), key=lambda row: (row.county, row.code))
    shared = [place for code, rows in groupby(ordered, key=lambda row: row.county) for place in _share_out(known[code], list(rows))]
    return tuple(sorted(shared, key=lambda township: township.code))


def _share_out(county: CountyRow, rows: list[TownshipRow]) -> Iterator[Township]:
    shares: list[list[Position]] = [[] for _ in rows]
    if county.spots:
        nearest = _apart(_centres([row.point for row in rows], county.spots), np.array(county.spots)).argmin(axis=0)
        for spot, index in zip(county.spots, nearest, strict=True):
            shares[index].append(spot)
    for row, share in zip(rows, shares, strict=True):
        yield Township(row.code, row.name, county.code, county.name, tuple(share or county.spots[:1]))


def _centres(points: Sequence[Position | None], spots: Sequence[Position]) -> Floats:
    """The points; where there is none the spot that is farthest from every other."""
    places = np.array(spots)
    taken = np.array([point for point in points if point is not None]).reshape(-1, 2)
    nearest = _apart(taken, places).min(axis=0, initial=np.inf)
    found: list[Floats] = []
    for point in points:
        if point is None:
            centre = places[nearest.argmax()]
            nearest = np.minimum(nearest, _apart(centre.reshape(1, 2), places)[0])
        found.append(centre if point is None else np.array(point))
    return np.array(found)


def _apart(some: Floats, others: Floats) -> Floats:
    """Degrees of latitude between points of Jilin, each with each; good enough to say which is nearer."""
    east, north = (some[:, None] - others[None, :]).transpose(2, 0, 1)
    distances: Floats = np.hypot(east * 0.72, north)
    return distances


_STATUSES = ("OPERATING",) * 57 + ("SUSPENDED",) * 4 + ("CLOSED",) * 2 + ("WITHDRAWN",)
_CLASSES = (None,) + ("JIA",) * 8 + ("YI",) * 5 + ("BING",) * 2
_DATUMS = (Datum.GCJ02,) * 3 + (Datum.CGCS2000,) + (Datum.WGS84,) * 12
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)
_CREDIT_WEIGHTS = tuple(pow(3, position, 31) for position in range(17))
_CODES = 31**6


@cache
def _triples(first: int) -> tuple[tuple[str, int, int], ...]:
    """Every three characters at place `first` of an organisation code, with what they add to its check and to the credit code's."""
    alphabet = CREDIT_CODE_ALPHABET
    own = [(c, int(c, 36), alphabet.index(c)) for c in alphabet]
    inner, outer = _ORGANISATION_WEIGHTS[first : first + 3], _CREDIT_WEIGHTS[first + 8 : first + 11]
    return tuple(
        (a + b + c, va * inner[0] + vb * inner[1] + vc * inner[2], ia * outer[0] + ib * outer[1] + ic * outer[2])
        for a, va, ia in own
        for b, vb, ib in own
        for c, vc, ic in own
    )


@cache
def _opening(county: str) -> tuple[str, int]:
    """Registrar, type, division and block of a credit code, with what they add to its check."""
    text = f"91{county}XX"
    return text, sum(CREDIT_CODE_ALPHABET.index(c) * w for c, w in zip(text, _CREDIT_WEIGHTS, strict=False))


_BLOCK_SUM = int("X", 36) * (_ORGANISATION_WEIGHTS[0] + _ORGANISATION_WEIGHTS[1])


def credit_code(county: str, number: int) -> str:
    """A credit code with valid check digits inside and out; one for each number below 31^6."""
    opening, total = _opening(county)
    high, low = divmod(number % _CODES, 29791)
    left, left_inner, left_outer = _triples(2)[high]
    right, right_inner, right_outer = _triples(5)[low]
    check = "0123456789X0"[11 - (_BLOCK_SUM + left_inner + right_inner) % 11]
    total += left_outer + right_outer + CREDIT_CODE_ALPHABET.index(check) * _CREDIT_WEIGHTS[16]
    return f"{opening}{left}{right}{check}{CREDIT_CODE_ALPHABET[-total % 31]}"


def _mix(number: int) -> int:
    """64 well-mixed bits of a number (SplitMix64, Steele et al. 2014)."""
    number = (number * 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


def _identifier(key: int, millisecond: int, number: int) -> str:
    """A UUIDv7: `millisecond` after the seed's birth, then bits of (key, number)."""
    head = ((_BORN_MS + millisecond) << 16) | 0x7000 | (number & 0xFFF)
    text = f"{head:016x}{(1 << 63) | (_mix(key + number) >> 2):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@cache
def _keys(seed: int) -> Mapping[str, int]:
    """What makes the ids of one seed and record differ from those of another."""
    return {name: _mix(_mix(seed + 0x5EED) + at) for at, name in enumerate(("enterprise", *_DETAILS, *_PEOPLE), 1)}


def enterprise_id(seed: int, index: int) -> str:
    """The id of the demo enterprise number `index`; it can be had without the areas."""
    return _identifier(_keys(seed)["enterprise"], index, index)


def _moment(days_ago: int, minute: int) -> str:
    return f"{_DAYS[days_ago]}T{1 + minute // 60 % 9:02d}:{minute % 60:02d}:00+00:00"


def resident_number(day: str, serial: int) -> str:
    """A resident number with a valid check digit, of a division that does not exist."""
    body = f"999999{day.replace('-', '')}{serial % 1000:03d}"
    total = sum(int(digit) * weight for digit, weight in zip(body, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    return body + "10X98765432"[total % 11]


@dataclass(frozen=True)
class _Stand:
    """A spot of a township (WGS 84), None where its outline is not known."""

    township: Township
    covered: bool  # has an active coordinator
    spot: Position | None


@dataclass(frozen=True, slots=True)
class _Subject:
    """An enterprise on which details are hung, and the lists that take them."""

    enterprise: Document
    index: int
    industry: Industry
    stand: _Stand
    into: dict[str, list[Document]]


class Demo:
    """The invented province: people and sites first, then blocks of enterprises."""

    def __init__(self, seed: int, townships: Sequence[Township]) -> None:
        if not townships:
            raise ValueError("演示数据需要乡镇：请先载入行政区划")
        self.seed = seed
        self.townships = tuple(townships)
        self._key = _mix(seed + 0x5EED)
        self._keys = _keys(seed)
        self._scramble = 1 + 31 * (_mix(self._key) % (31**5 - 1)), _mix(self._key + 99)  # coprime with 31: no code twice

    # --- enterprises -------------------------------------------------------------------------------------------------

    def blocks(self, enterprises: int) -> range:
        """Numbers of the blocks that hold the first `enterprises`."""
        return range(-(-enterprises // BLOCK))

    def credit_code(self, county: str, index: int) -> str:
        step, start = self._scramble
        return credit_code(county, index * step + start)

    def block(self, number: int, enterprises: int) -> list[Batch]:
        """Block `number` of a province with that many enterprises, parents before children."""
        indexes = range(number * BLOCK, min((number + 1) * BLOCK, enterprises))
        random = Random(f"{self.seed}:{number}")  # noqa: S311 - reproducible on purpose
        details: dict[str, list[Document]] = {name: [] for name in _DETAILS}
        made = [self._enterprise(index, random.getrandbits(384), details) for index in indexes]
        return [("enterprise", made), *details.items()]

    def _enterprise(self, index: int, bits: int, details: dict[str, list[Document]]) -> Document:
        stand = self._wheel[bits & 8191]
        industry, hazards = _industries()[bits >> 13 & 1023]
        floor, span, size = words.SIZES[bits >> 23 & 31]
        employees = floor + (bits >> 28 & 4095) * span // 4096
        contract = (bits >> 40 & 63) * employees >> 9
        township = stand.township
        surname = words.SURNAMES[bits >> 46 & 7]
        brand = words.BRANDS[bits >> 49 & 15] + words.SECOND_BRANDS[bits >> 53 & 15]
        document = {
            "id": _identifier(self._keys["enterprise"], index, index),
            "name": f"演示{township.county_name}{brand}{industry.trade}有限公司",
            "credit_code": self.credit_code(township.county, index),
            "area_code": township.code,
            "address": f"{township.name}演示路{1 + (bits >> 57 & 1023)}号",
            "location": _position(stand, bits >> 67),
            "industry_code": industry.code,
            "size": size,
            "status": _STATUSES[bits >> 110 & 63],
            "hazard_class": "SEVERE" if industry.severe else "GENERAL",
            "hazards": [*hazards],
            "supervision_class": _CLASSES[bits >> 116 & 15],
            "legal_representative": f"演示{surname}某",
            "contact_name": f"演示{surname}某某",
            "contact_phone": f"000-{bits >> 120 & 0x3FFFFFF:08d}",
            "employees": employees,
            "contract_workers": contract,
            "exposed_workers": (16 + (bits >> 146 & 31)) * employees >> 6,
            "management_grade": "ABC"[(bits >> 181) % 3] if bits >> 183 & 1 else None,
            "key_industry": industry.severe,
            "declaration_state": "ACCEPTED" if bits >> 160 & 7 else None,
            "declared_on": _DAYS[bits >> 151 & 511] if bits >> 160 & 7 else None,
            "tested_on": _DAYS[bits >> 163 & 2047] if bits >> 174 & 3 else None,
            "visits": (bits >> 176 & 7) * (bits >> 179 & 1),
            "source": "DEMO",
            "notes": None,
            "remark": _REMARK,
        }
        if not bits >> 180 & 7:
            self._detail(_Subject(document, index, industry, stand, details), bits >> 183)
        return document

    @cached_property
    def _wheel(self) -> tuple[_Stand, ...]:
        """8192 spots, a township as often as its share: three times in Changchun's districts, where the industry is."""
        covered = frozenset(township.code for township in self.townships if self._state(township) == "ACTIVE")
        stands = [(_stands(township, township.code in covered), 3 if township.county[:5] == "22010" else 1) for township in self.townships]
        turns = [index for index, (_, share) in enumerate(stands) for _ in range(share)]
        places = (turns[slot % len(turns)] for slot in range(8192))
        return tuple(stands[index][0][slot // len(turns) * 7 % len(stands[index][0])] for slot, index in enumerate(places))

    # --- what hangs on an enterprise ---------------------------------------------------------------------------------

    def _detail(self, subject: _Subject, bits: int) -> None:
        for at, name in enumerate(subject.industry.workplaces[: 1 + bits % 3]):
            self._workplace(subject, subject.index * 4 + at, name, bits >> 2)
        if bits >> 30 & 3 == 0:
            self._inspection(subject, bits >> 32)
        if subject.stand.covered and bits >> 50 & 1:
            subject.into["patrol"].append(self._patrol(subject, bits >> 51))

    def _workplace(self, subject: _Subject, number: int, name: str, bits: int) -> None:
        workplace_id = _identifier(self._keys["workplace"], subject.index, number)
        required = 2 + (bits & 7)
        subject.into["workplace"].append(
            {
                "id": workplace_id,
                "enterprise_id": subject.enterprise["id"],
                "name": name,
                "process": None,
                "posts": 1 + (bits >> 3 & 7),
                "signs_required": required,
                "signs_present": required - (bits >> 6 & 1),
                "remark": _REMARK,
            }
        )
        for at, factor in enumerate(subject.enterprise["hazards"][: 1 + (bits >> 7 & 1)]):
            exposure_id = _identifier(self._keys["exposure"], subject.index, number * 8 + at)
            subject.into["exposure"].append(_exposure(subject.enterprise, exposure_id, workplace_id, factor, bits >> 8))

    def _inspection(self, subject: _Subject, bits: int) -> None:
        ago, fault, faulty = 5 + (bits & 255), bits & 7, bool(bits >> 8 & 3)
        inspection_id = _identifier(self._keys["inspection"], subject.index, subject.index)
        subject.into["inspection"].append(
            {
                "id": inspection_id,
                "enterprise_id": subject.enterprise["id"],
                "kind": ("ROUTINE", "DOUBLE_RANDOM", "SPECIAL", "RECHECK")[bits >> 10 & 3],
                "state": "SIGNED",
                "inspected_at": _moment(ago, bits >> 12 & 511),
                "officers": list(words.OFFICERS.get(subject.stand.township.county, words.OTHER_OFFICERS)),
                "location": _position(subject.stand, _mix(bits)),
                "checklist": _checklist(fault if faulty else None),
                "measurements": None,
                "result": "CORRECTED" if faulty else "NO_PROBLEM",
                "document_number": None,
                "opinion": _REMARK,
                "evidence": None,
            }
        )
        if faulty:
            subject.into["finding"].append(self._finding(subject, inspection_id, ago, fault))

    def _finding(self, subject: _Subject, inspection_id: str, ago: int, fault: int) -> Document:
        return {
            "id": _identifier(self._keys["finding"], subject.index, subject.index),
            "enterprise_id": subject.enterprise["id"],
            "inspection_id": inspection_id,
            "patrol_id": None,
            "source": "INSPECTION",
            "severity": ("MINOR", "MINOR", "MAJOR", "SEVERE")[fault & 3],
            "state": "OPEN",
            "description": words.FAULTS[fault],
            "law_article": None,
            "responsible": "演示责任人",
            "deadline_on": (TODAY + timedelta(days=30 - ago)).isoformat(),
            "rectified_on": None,
            "rechecked_on": None,
            "evidence": None,
        }

    def _patrol(self, subject: _Subject, bits: int) -> Document:
        in_place = bool(bits >> 16 & 3)
        return {
            "id": _identifier(self._keys["patrol"], subject.index, subject.index),
            "enterprise_id": subject.enterprise["id"],
            "coordinator_id": self._coordinator_id(subject.stand.township),
            "state": "REPORTED",
            "patrolled_at": _moment(bits & 127, bits >> 7 & 511),
            "location": _position(subject.stand, _mix(bits)),
            "declared": subject.enterprise["declared_on"] is not None,
            "signs_in_place": in_place,
            "protection_worn": bool(bits >> 18 & 3),
            "lead": None if in_place else "警示标识不全，请核实",
            "evidence": None,
            "feedback": None,
        }

    # --- people and sites --------------------------------------------------------------------------------------------

    def people(self) -> Iterator[Batch]:
        """Institutions, coordinators, rehabilitation sites and patients, in that order."""
        yield "institution", [body for seat in self._seats for body in self._institutions(seat)]
        yield "coordinator", [self._coordinator(township) for township in self.townships if self._state(township)]
        yield "rehab_site", [site for township in self.townships for site in self._sites(township)]
        yield "patient", [patient for township in self.townships for patient in self._patients(township)]

    def covered(self, county: str) -> list[Township]:
        """Townships of a county that have an active coordinator."""
        return [township for township in self.townships if township.county == county and self._state(township) == "ACTIVE"]

    def coordinator_of(self, username: str) -> Township:
        """The township of the coordinator who signs in under that name."""
        return self._signing_in[username]

    @cached_property
    def _signing_in(self) -> Mapping[str, Township]:
        return {username: (self.covered(county) or self.townships)[0] for username, county in words.SIGNING_IN}

    def site_id(self, township: Township) -> str:
        return self._township_id("rehab_site", township)

    def stations(self) -> list[Township]:
        """Townships with a working rehabilitation station."""
        return [township for township in self.townships if self._has_station(township)]

    def _draw(self, township: Township, topic: int) -> int:
        return _mix(self._key ^ _mix(int(township.code) * 64 + topic))

    def _township_id(self, record: str, township: Township, number: int = 0) -> str:
        return _identifier(self._keys[record], number, int(township.code) * 1024 + number)

    @cached_property
    def _uncovered(self) -> frozenset[str]:
        """Townships without an active coordinator: a sixth of each county's, at least one of two or more."""
        found: set[str] = set()
        for _, group in groupby(sorted(self.townships, key=lambda township: township.county), key=lambda township: township.county):
            rows = sorted(group, key=lambda township: self._draw(township, 1))
            found.update(township.code for township in rows[: min(len(rows) - 1, 1 + len(rows) // 6)])
        return frozenset(found)

    def _state(self, township: Township) -> str:
        """Of the township's coordinator; "" where none was ever appointed."""
        if township.code not in self._uncovered:
            return "ACTIVE"
        return ("", "ENDED", "", "SUSPENDED")[self._draw(township, 2) & 3]

    def _coordinator_id(self, township: Township) -> str:
        return self._township_id("coordinator", township)

    def _coordinator(self, township: Township) -> Document:
        state, bits = self._state(township), self._draw(township, 3)
        return {
            "id": self._coordinator_id(township),
            "name": f"演示协管员{words.SURNAMES[bits & 7]}某",
            "area_code": township.code,
            "phone": f"000-{bits >> 3 & 0x3FFFFFF:08d}",
            "employer": f"演示{township.name}卫生院",
            "status": state,
            "appointed_on": _DAYS[800 + (bits >> 29 & 1023)],
            "ended_on": _DAYS[10 + (bits >> 40 & 255)] if state == "ENDED" else None,
            "trained_on": _DAYS[bits >> 48 & 511],
            "username": next((username for username, own in self._signing_in.items() if own is township), None),
            "demo": True,
        }

    @cached_property
    def _burdened(self) -> Mapping[str, int]:
        """Rank of the two townships per prefecture with 100 patients or more: the first has no station, the second has."""
        found: dict[str, int] = {}
        for _, group in groupby(sorted(self.townships, key=lambda township: township.code[:4]), key=lambda township: township.code[:4]):
            ranked = sorted(group, key=lambda township: self._draw(township, 4))
            found.update((township.code, rank) for rank, township in enumerate(ranked[:2]))
        return found

    def _has_station(self, township: Township) -> bool:
        rank = self._burdened.get(township.code)
        return rank == 1 if rank is not None else self._draw(township, 5) % 40 == 0

    def _sites(self, township: Township) -> Iterator[Document]:
        if self._has_station(township):
            yield self._site(township, 0, "STATION", "OPEN", "康复站")
        elif township.code in self._burdened and self._draw(township, 6) & 1:
            yield self._site(township, 0, "STATION", "PLANNED", "康复站")
        if self._draw(township, 7) % 24 == 0:
            yield self._site(township, 1, "POINT", "OPEN", "康复点")

    def _site(self, township: Township, number: int, kind: str, status: str, noun: str) -> Document:
        bits, opened = self._draw(township, 8 + number), status == "OPEN"
        stand = _stands(township, covered=False)[0]
        return {
            "id": self._township_id("rehab_site", township, number),
            "name": f"演示{township.name}{noun}",
            "kind": kind,
            "area_code": township.code,
            "address": f"{township.name}演示路{1 + (bits & 255)}号",
            "location": _position(stand, bits >> 8),
            "host": f"演示{township.name}卫生院" if kind == "STATION" else f"演示{township.name}村卫生室",
            "status": status,
            "opened_on": _DAYS[100 + (bits >> 40 & 1023)] if opened else None,
            "capacity": 40 + (bits >> 50 & 63),
            "physicians": 1 if opened else 0,
            "nurses": 1 if opened else 0,
            "equipment": ["制氧机", "肺功能仪", "运动康复车"] if kind == "STATION" else ["制氧机"],
            "phone": f"000-{bits >> 30 & 0x3FFFFFF:08d}",
            "demo": True,
        }

    @cached_property
    def _seats(self) -> tuple[Township, ...]:
        """The first township of each county."""
        return tuple(next(rows) for _, rows in groupby(sorted(self.townships, key=lambda t: (t.county, t.code)), key=lambda t: t.county))

    def _institutions(self, seat: Township) -> Iterator[Document]:
        """A county's bodies; one in six counties has no exam institution, one in four has one for diagnosis."""
        for number, (kind, noun) in enumerate(_INSTITUTIONS):
            bits = self._draw(seat, 20 + number)
            if (kind == "EXAM" and bits % 6 == 0) or (kind == "DIAGNOSIS" and bits % 4):
                continue
            body = kind in ("SUPERVISION", "CDC")
            yield {
                "id": self._township_id("institution", seat, number),
                "name": f"演示{seat.county_name}{noun}",
                "kind": kind,
                "area_code": seat.county,
                "credit_code": None,
                "address": f"{seat.name}演示路{1 + (bits >> 8 & 255)}号",
                "location": _position(_stands(seat, covered=False)[0], bits >> 16),
                "valid_from": _DAYS[400 + (bits >> 30 & 2047)],
                "valid_to": None,
                "health_section": bool(bits >> 42 & 3) if body else None,
                "full_time_managers": (bits >> 44 & 3) if body else None,
                "demo": True,
            }

    def _patients(self, township: Township) -> Iterator[Document]:
        bits = self._draw(township, 10)
        few = 1 + bits % 40 if bits >> 8 & 7 == 0 else 0
        count = 100 + bits % 60 if township.code in self._burdened else few
        site = self.site_id(township) if self._has_station(township) else None
        return (self._patient(township, number, site) for number in range(count))

    def _patient(self, township: Township, number: int, site: str | None) -> Document:
        bits = _mix(self._draw(township, 11) + number)
        born = date(1940 + (bits & 31), 1 + (bits >> 5 & 7), 1 + (bits >> 8 & 15)).isoformat()
        resident = bool(bits >> 12 & 7)
        return {
            "id": self._township_id("patient", township, number),
            "name": f"演示患者{number + 1:03d}",
            "id_kind": "RESIDENT" if resident else "OTHER",
            "id_number": resident_number(born, bits >> 15) if resident else f"演示-{township.code}-{number:03d}",
            "area_code": township.code,
            "phone": f"000-{bits >> 25 & 0x3FFFFFF:08d}",
            "stage": ("I", "I", "II", "III")[bits >> 51 & 3],
            "life": "ALIVE",
            "diagnosed_on": _DAYS[bits >> 53 & 2047],
            "dust_years": str(3 + (bits >> 20 & 31)),
            "insured": bool(bits >> 19 & 1),
            "site_id": site,
            "followed_up_on": _DAYS[bits >> 40 & 511],
            "demo": True,
        }


_DETAILS = ("workplace", "exposure", "inspection", "finding", "patrol")
_PEOPLE = ("coordinator", "rehab_site", "patient", "institution")


def _exposure(enterprise: Document, exposure_id: str, workplace_id: str, factor: str, bits: int) -> Document:
    tested, points = enterprise["tested_on"], 1 + (bits & 7)
    return {
        "id": exposure_id,
        "workplace_id": workplace_id,
        "factor_code": factor,
        "factor_name": None,
        "workers": enterprise["exposed_workers"] // 2,
        "contract_workers": 0,
        "tested_on": tested,
        "points_tested": points if tested else None,
        "points_exceeded": bits >> 3 & 1 if tested else None,
    }


def _checklist(fault: int | None) -> list[Document]:
    return [{"id": str(at), "item": item, "result": "NO" if at == fault else "YES", "note": None} for at, item in enumerate(words.CHECKS)]


@cache
def _industries() -> tuple[tuple[Industry, tuple[str, ...]], ...]:
    """1024 pairs of industry and hazards, an industry as often as its share; the first hazard is always there."""
    turns = [industry for industry in INDUSTRIES for _ in range(industry.share)]
    slots = ((slot, turns[_mix(slot) % len(turns)]) for slot in range(1024))
    return tuple((industry, tuple(sorted(industry.hazards[: 1 + slot % len(industry.hazards)]))) for slot, industry in slots)


@cache
def _stands(township: Township, covered: bool) -> tuple[_Stand, ...]:
    return tuple(_Stand(township, covered, spot) for spot in township.spots or (None,))


_shown = cache(from_wgs84)  # few spots stand for many positions


def _position(stand: _Stand, bits: int) -> Document | None:
    """A place around the spot in the datum of some device; the shift between datums is the same within a few centimetres."""
    if stand.spot is None:
        return None
    datum = _DATUMS[bits & 15]
    lon, lat = _shown(*stand.spot, datum)
    return {
        "lon": round(lon + (bits >> 4 & 8191) * (2 * _JITTER / 8191) - _JITTER, 6),
        "lat": round(lat + (bits >> 17 & 8191) * (2 * _JITTER / 8191) - _JITTER, 6),
        "datum": datum.value,
        "accuracy": 4 + (bits >> 30 & 31),
        "provider": "network" if datum is Datum.GCJ02 else "gps",
        "taken_at": _moment(bits >> 35 & 255, bits >> 39 & 511),
    }
