"""The stamp that a device puts on each local write: `deviceId:counter[:ms]`. Pure: no session, no clock."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

LARGEST: Final = 2**63 - 1  # PostgreSQL bigint
AHEAD_MS: Final = 5 * 60 * 1000  # sync.md, Push: how far a device's clock may run before the server's
_FORM: Final = re.compile(r"([^:\s]{1,100}):([0-9]{1,19})(?::([0-9]{1,19}))?")


class Stamp(NamedTuple):
    """`ms` is the device's own clock at the edit, uncorrected; None from a device that has no trustworthy one."""

    device_id: str
    counter: int
    ms: int | None


def parse_stamp(text: object) -> Stamp | None:
    """The stamp in `text`; None when it is malformed, does not fit a bigint, or is no text."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    device_id, counter, ms = found.groups()
    stamp = Stamp(device_id, int(counter), None if ms is None else int(ms))
    return stamp if max(stamp.counter, stamp.ms or 0) <= LARGEST else None


def edit_ms(stamp: Stamp | None, offset_ms: int, now_ms: int) -> int:
    """When the edit was made, in the server's milliseconds since 1970.

    offset_ms  server clock minus device clock, as measured
    Without a device time the arrival counts; so it does for a clock more than 5 minutes ahead, or before 1970.
    """
    if stamp is None or stamp.ms is None:
        return now_ms
    corrected = stamp.ms + offset_ms
    return corrected if 0 <= corrected <= now_ms + AHEAD_MS else now_ms


def is_repeat(stamp: Stamp | None, last_counter: int | None) -> bool:
    """Whether a push of (device, record) was handled before: its counter is not above the last one seen.

    False without a stamp: the shadow rule alone (`sync.merge.rebase`) then makes twice once.
    """
    return stamp is not None and last_counter is not None and stamp.counter <= last_counter


def is_passed_on(stamp: Stamp | None, before: object, device_id: str | None) -> bool:
    """Whether a device sends a document as another wrote it last, on an older base: after a crash between RxDB's two writes.

    From a device that stamps what it writes, nothing of it is its own. `stamp` is the document's, `before` the text of its base's.
    """
    return stamp is not None and device_id is not None and stamp.device_id != device_id and parse_stamp(before) != stamp
