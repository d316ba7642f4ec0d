"""Uploads that go on where the link died: what arrived is kept, one request writes at a time, and only what its hash vouches for is seen.

A request's bytes go to the store in pieces; a piece counts from the moment its row is committed. So the store may hold more than the
rows say (a crash between the two), never less, and any node can go on. The lock of an upload is a lease in its row.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schema.actor import Actor
from schema.problems import Problem, Refused
from schema.registry import Registry
from sync import evidence, pictures
from sync.budget import PATIENCE_SECONDS, Budget, CrowdedError
from sync.moment import Moment
from sync.vault import PIECE_BYTES, ContentLiesError, StorageFullError, Vault
from sync.write import issue_waiting

ALGORITHMS: Mapping[str, Callable[[], Any]] = {"sha1": lambda: hashlib.sha1(usedforsecurity=False), "sha256": hashlib.sha256}
FLUSH_SECONDS = 2.0  # a slow link gives its bytes to the store at least this often
LEASE_SECONDS = 5.0  # how long a request that has died without a word keeps others from going on
KEPT = timedelta(days=7)  # after the last byte; and how long an ended upload still says how it ended
UNFINISHED = 200  # uploads that one person may have on their way
DRAWN_AT_ONCE = 2

UNKNOWN = Problem("UPLOAD_UNKNOWN", "There is no such upload; create a new one.")
EXPIRED = Problem("UPLOAD_EXPIRED", "The upload has expired; create a new one.")
FAILED = Problem("UPLOAD_FAILED", "The bytes were not those of the announced sha256; create a new upload.")
OTHER_DEVICE = Problem("UPLOAD_OF_OTHER_DEVICE", "Only the device that created an upload may go on with it.")
NO_DEVICE = Problem("DEVICE_NEEDED", "Files come from enrolled devices only.")
BUSY = Problem("UPLOAD_BUSY", "Another request is writing to this upload; try again in a few seconds.")
OFFSET = Problem("OFFSET_MISMATCH", "Upload-Offset is not what has arrived; ask with HEAD.")
BEYOND = Problem("BEYOND_LENGTH", "More bytes than Upload-Length; the rest was not taken.")
CHECKSUM = Problem("CHECKSUM_MISMATCH", "The bytes are not those of Upload-Checksum; nothing of this request was kept.")
LIES = Problem("EVIDENCE_HASH_MISMATCH", "The whole file is not that of the announced sha256; it was thrown away.")
TOO_LARGE = Problem("FILE_TOO_LARGE", "The file is larger than Tus-Max-Size.")
TOO_MANY = Problem("TOO_MANY_UPLOADS", "Too many unfinished uploads; finish or delete some.")
CROWDED = Problem("UPLOADS_CROWDED", "Too many bytes are on their way at once; what has arrived is kept, go on in a few seconds.")
FULL = Problem("STORAGE_FULL", "The server has no room for more bytes; what has arrived is kept.")

log = logging.getLogger(__name__)


class LinkLostError(Exception):
    """The body ended before it was whole; raised by the body, passed on after what came has been kept."""


@dataclass(frozen=True)
class Upload:
    """One row of `upload`."""

    id: str
    user_id: str
    device_id: str
    sha256: str
    length: int
    received: int
    media_type: str
    metadata: str
    state: str
    expires_at: datetime

    @property
    def whole(self) -> bool:
        return self.received == self.length

    @property
    def pieces(self) -> str:
        return f"pieces/{self.id}"


@dataclass(frozen=True)
class Announced:
    """What the creation of an upload says of the file."""

    sha256: str
    length: int
    media_type: str
    metadata: str = ""


@dataclass(frozen=True)
class Checksum:
    """Of one request's bytes; `algorithm` is a key of ALGORITHMS."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True)
class Known:
    """A verified file."""

    sha256: str
    size: int
    media_type: str
    thumbnail: bool


def content_key(sha256: str) -> str:
    return f"content/{sha256[:2]}/{sha256}"


def thumbnail_key(sha256: str) -> str:
    return f"thumbnails/{sha256[:2]}/{sha256}.jpg"


class Files:
    """Uploads and verified files of one installation; all state is in PostgreSQL and the store."""

    def __init__(self, engine: AsyncEngine, vault: Vault, registry: Registry, *, most_bytes: int, budget: Budget | None = None) -> None:
        self.engine = engine
        self.budget = budget or Budget()
        self.expired = 0  # uploads that this node has given up
        self.vault = vault
        self.registry = registry
        self.most_bytes = most_bytes
        self._drawing = asyncio.Semaphore(DRAWN_AT_ONCE)

    # --- by request ------------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, announced: Announced, now: datetime) -> Upload:
        """Raises Refused: DEVICE_NEEDED, FILE_TOO_LARGE, STORAGE_FULL, TOO_MANY_UPLOADS."""
        if actor.device_id is None:
            raise Refused(NO_DEVICE)
        if announced.length > self.most_bytes:
            raise Refused(TOO_LARGE)
        room = await asyncio.to_thread(self.vault.room)
        if room is not None and room < announced.length:
            raise Refused(FULL)
        values = {**vars(announced), "id": str(uuid.uuid4()), "user": actor.user_id, "device": actor.device_id}
        async with self.engine.begin() as connection:
            await connection.execute(_PROMISE, {"sha256": announced.sha256, "media": announced.media_type})
            row = (await connection.execute(_CREATE, {**values, "expires": now + KEPT, "most": UNFINISHED})).mappings().first()
        if row is None:
            raise Refused(TOO_MANY)
        upload = Upload(**row)
        return await self.look_after(upload) if upload.whole else upload

    async def find(self, actor: Actor, upload_id: str, now: datetime) -> Upload:
        """Raises Refused: UPLOAD_UNKNOWN (somebody else's, too), UPLOAD_OF_OTHER_DEVICE, UPLOAD_EXPIRED, UPLOAD_FAILED."""
        async with self.engine.connect() as connection:
            row = (await connection.execute(_FIND, {"id": upload_id})).mappings().first()
        if row is None or row["user_id"] != actor.user_id:
            raise Refused(UNKNOWN)
        upload = Upload(**row)
        if upload.device_id != actor.device_id:
            raise Refused(OTHER_DEVICE)
        if upload.state == "FAILED":
            raise Refused(FAILED)
        if upload.state == "EXPIRED" or (upload.state == "RECEIVING" and upload.expires_at <= now):
            raise Refused(EXPIRED)
        return upload

    async def look_after(self, upload: Upload) -> Upload:
        """Finishes an upload whose bytes are all here but which a crash or a full disk kept from being verified.

        Raises Refused: UPLOAD_BUSY, EVIDENCE_HASH_MISMATCH, STORAGE_FULL.
        """
        if upload.state != "RECEIVING" or not upload.whole:
            return upload
        async with _Lease(self.engine, upload) as lease:
            try:
                await self._finish(lease.upload, lease)
            except StorageFullError:
                raise Refused(FULL) from None
            return lease.upload

    async def write(
        self, actor: Actor, upload_id: str, offset: int, body: AsyncIterator[bytes], checksum: Checksum | None, now: datetime
    ) -> Upload:
        """Takes a request's bytes and finishes the upload with the last one.

        What arrived is kept when the link dies (LinkLostError, from the body) or the disk fills up; of a request with a checksum
        that turns out wrong, nothing is.
        Raises Refused: those of `find` and `look_after`, OFFSET_MISMATCH, BEYOND_LENGTH, CHECKSUM_MISMATCH, UPLOADS_CROWDED.
        """
        upload = await self.find(actor, upload_id, now)
        if upload.state == "VERIFIED" and offset == upload.length:
            return upload
        try:
            with self.budget.writer():
                return await self._write(upload, offset, body, checksum)
        except StorageFullError:
            raise Refused(FULL) from None
        except CrowdedError:
            raise Refused(CROWDED) from None

    async def _write(self, upload: Upload, offset: int, body: AsyncIterator[bytes], checksum: Checksum | None) -> Upload:
        async with _Lease(self.engine, upload) as lease:
            if offset != lease.upload.received:
                raise Refused(OFFSET)
            await _Intake(self.vault, lease, checksum, self.budget).take(body)
            if lease.upload.whole:
                await self._finish(lease.upload, lease)
            return lease.upload

    async def remove(self, actor: Actor, upload_id: str, now: datetime) -> None:
        """Ends an upload and throws its bytes away; a verified file stays. Raises Refused as `find`, and UPLOAD_BUSY."""
        upload = await self.find(actor, upload_id, now)
        async with _Lease(self.engine, upload, any_state=True):
            await self.vault.drop(upload.pieces)
            async with self.engine.begin() as connection:
                await connection.execute(_REMOVE, {"id": upload.id})

    async def known(self, sha256: str) -> Known | None:
        """The verified file with this hash."""
        async with self.engine.connect() as connection:
            row = (await connection.execute(_KNOWN, {"sha256": sha256})).mappings().first()
        return Known(**row) if row else None

    async def readable(self, actor: Actor, sha256: str) -> Known | None:
        """The verified file, for those who may read a record that names it by a naming that is proven."""
        async with self.engine.connect() as connection:
            if not await evidence.readable_hashes(connection, actor, self.registry, [sha256]):
                return None
        return await self.known(sha256)

    async def held(self, actor: Actor, sha256: str) -> Known | None:
        """The verified file, for those who need not send it: they have, or may read it. To others it is as if there were none."""
        async with self.engine.connect() as connection:
            if await connection.scalar(_SENT, {"sha256": sha256, "user": actor.user_id}):
                return await self.known(sha256)
        return await self.readable(actor, sha256)

    # --- the end of an upload --------------------------------------------------------------------------------------------

    async def _finish(self, upload: Upload, lease: _Lease) -> None:
        """Verifies the whole file, keeps it by its hash, and issues what waited for it.

        Also of a file that is known every byte is looked at: that is the proof that the sender holds it.
        """
        async with _patiently(self.budget.joining, lease.renew):
            async with self.engine.begin() as connection:
                await connection.execute(_RECEIVED, {"sha256": upload.sha256})
                keys = list((await connection.execute(_PIECES, {"id": upload.id})).scalars())
            there = await self.known(upload.sha256)
            try:
                await self.vault.join(keys, upload.sha256, lease.renew, to=None if there else content_key(upload.sha256))
            except ContentLiesError:
                await self._fail(upload, lease)
                raise Refused(LIES) from None
            look = pictures.Look() if there else await self._look(upload)
        await self._verified(upload, lease, look)
        await self.vault.drop(upload.pieces)
        await self._issue(upload.sha256)

    async def _look(self, upload: Upload) -> pictures.Look:
        """The image, if it is one, and its small picture in the store."""
        if not upload.media_type.startswith("image/"):
            return pictures.Look()
        if upload.length > pictures.MOST_BYTES:
            return pictures.Look(problem="IMAGE_TOO_LARGE")
        async with self._drawing:
            found = await asyncio.to_thread(pictures.look, await self.vault.get(content_key(upload.sha256)))
        if found.thumbnail:
            await self.vault.put(thumbnail_key(upload.sha256), found.thumbnail)
        return found

    async def _verified(self, upload: Upload, lease: _Lease, look: pictures.Look) -> None:
        values = {name: getattr(look, name) for name in ("width", "height", "lon", "lat", "taken_at", "problem")}
        values |= {"sha256": upload.sha256, "size": upload.length, "media": upload.media_type, "thumbnail": look.thumbnail is not None}
        async with self.engine.begin() as connection:
            await connection.execute(_VERIFIED, values)
            await connection.execute(_NAMED_AGAIN, {"sha256": upload.sha256})
            await lease.end(connection, "VERIFIED")
            await evidence.prove(connection, upload.user_id, upload.sha256)

    async def _fail(self, upload: Upload, lease: _Lease) -> None:
        async with self.engine.begin() as connection:
            await lease.end(connection, "FAILED")
            await connection.execute(_PROMISED_AGAIN, {"sha256": upload.sha256})
        await self.vault.drop(upload.pieces)
        log.warning("upload %s of device %s was not the file that it announced", upload.id, upload.device_id)

    async def _issue(self, sha256: str | None, moment: Moment | None = None) -> int:
        moment = moment or Moment(_now())
        issued = 0
        for record in self.registry.values():
            if record.issued_when is not None:
                async with self.engine.begin() as connection:
                    hashes = None if sha256 is None else [sha256]
                    issued += await issue_waiting(connection, record, hashes=hashes, moment=moment, registry=self.registry)
        return issued

    # --- by the clock ----------------------------------------------------------------------------------------------------

    async def sweep(self, now: datetime) -> None:
        """What a crash left undone, and what nobody came back for. Any node may run it, several at once."""
        await self._issue(None, Moment(now))
        for upload in await self._stale(_UNVERIFIED):
            try:
                await self.look_after(upload)
            except Refused as error:
                log.warning("upload %s could not be finished: %s", upload.id, error)
        for upload in await self._stale(_OVERDUE, now):
            await self.vault.drop(upload.pieces)
            async with self.engine.begin() as connection:
                self.expired += (await connection.execute(_EXPIRE, {"id": upload.id, "now": now})).rowcount
        async with self.engine.begin() as connection:
            await connection.execute(_FORGET, {"before": now - KEPT})

    async def _stale(self, statement: sa.TextClause, now: datetime | None = None) -> list[Upload]:
        async with self.engine.connect() as connection:
            found = await connection.execute(statement, {"now": now} if now else {})
            return [Upload(**row) for row in found.mappings()]


class _Lease:
    """The right to write to an upload; Refused(BUSY) if another request has it. `upload` is the row as this request knows it."""

    def __init__(self, engine: AsyncEngine, upload: Upload, *, any_state: bool = False) -> None:
        self.engine = engine
        self.upload = upload
        self.states = ["RECEIVING", "VERIFIED"] if any_state else ["RECEIVING"]
        self.writer = str(uuid.uuid4())
        self.renewed_at = 0.0

    async def __aenter__(self) -> _Lease:
        values = {"id": self.upload.id, "writer": self.writer, "seconds": LEASE_SECONDS, "states": self.states}
        async with self.engine.begin() as connection:
            row = (await connection.execute(_CLAIM, values)).mappings().first()
        if row is None:
            raise Refused(BUSY)
        self.upload, self.renewed_at = Upload(**row), time.monotonic()
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(_RELEASE, {"id": self.upload.id, "writer": self.writer})

    async def renew(self) -> None:
        """Raises Refused(BUSY) when the lease ran out and another request took it."""
        if time.monotonic() - self.renewed_at > LEASE_SECONDS / 4:
            async with self.engine.begin() as connection:
                await self._must(connection, _RENEW, {"seconds": LEASE_SECONDS})
            self.renewed_at = time.monotonic()

    async def advance(self, pieces: list[tuple[int, int, str]]) -> None:
        """Lets the pieces (start, size, key) count."""
        end = pieces[-1][0] + pieces[-1][1]
        rows = {"starts": [piece[0] for piece in pieces], "sizes": [piece[1] for piece in pieces], "keys": [piece[2] for piece in pieces]}
        values = {"from": pieces[0][0], "to": end, "seconds": LEASE_SECONDS, "expires": _now() + KEPT}
        async with self.engine.begin() as connection:
            await self._must(connection, _ADVANCE, values)
            await connection.execute(_ADD_PIECES, {"id": self.upload.id, **rows})
        self.renewed_at = time.monotonic()
        self.upload = Upload(**{**vars(self.upload), "received": end, "expires_at": values["expires"]})

    async def end(self, connection: AsyncConnection, state: str) -> None:
        await self._must(connection, _END, {"state": state, "expires": _now() + KEPT})
        self.upload = Upload(**{**vars(self.upload), "state": state})

    async def _must(self, connection: AsyncConnection, statement: sa.TextClause, values: dict[str, Any]) -> None:
        if not (await connection.execute(statement, {"id": self.upload.id, "writer": self.writer, **values})).rowcount:
            raise Refused(BUSY)


class _Intake:
    """The bytes of one request on their way into the store."""

    def __init__(self, vault: Vault, lease: _Lease, checksum: Checksum | None, budget: Budget) -> None:
        self.vault = vault
        self.lease = lease
        self.budget = budget
        self.taken = 0  # of the budget
        self.checksum = checksum
        self.digest = ALGORITHMS[checksum.algorithm]() if checksum else None
        self.position = lease.upload.received  # of the next byte
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.pieces: list[tuple[int, int, str]] = []  # in the store, not counting yet
        self.flushed_at = time.monotonic()

    async def take(self, body: AsyncIterator[bytes]) -> None:
        try:
            await self._take(body)
        finally:
            self.budget.give(self.taken)

    async def _take(self, body: AsyncIterator[bytes]) -> None:
        try:
            async for data in body:
                await self._add(data)
        except (LinkLostError, CrowdedError):
            await self._keep()  # unlooked-at bytes of a request with a checksum too: the hash of the whole file decides
            raise
        except StorageFullError:
            await self._count()
            raise
        except Refused:
            await self._discard()
            raise
        if self.digest is not None and self.checksum is not None and self.digest.digest() != self.checksum.digest:
            await self._discard()
            raise Refused(CHECKSUM)
        await self._keep()

    async def _add(self, data: bytes) -> None:
        if self.position + len(data) > self.lease.upload.length:
            raise Refused(BEYOND)
        await self._reserve(len(data))
        self.held.append(data)
        self.held_bytes += len(data)
        self.position += len(data)
        if self.digest is not None:
            self.digest.update(data)
        if self.held_bytes >= PIECE_BYTES or time.monotonic() - self.flushed_at > FLUSH_SECONDS:
            await self._pass_on()

    async def _reserve(self, size: int) -> None:
        """Room for the next bytes; who has to wait for it gives up what he holds first. Raises CrowdedError."""
        if not self.budget.take(size):
            await self._pass_on()
            until = time.monotonic() + PATIENCE_SECONDS
            while not await self.budget.wait(size, LEASE_SECONDS / 4):
                await self.lease.renew()
                if time.monotonic() > until:
                    raise CrowdedError
        self.taken += size

    async def _pass_on(self) -> None:
        await self._flush()
        await (self.lease.renew() if self.checksum else self._count())

    async def _flush(self) -> None:
        self.flushed_at = time.monotonic()
        if not self.held_bytes:
            return
        content, start = b"".join(self.held), self.position - self.held_bytes
        key = f"{self.lease.upload.pieces}/{start:015d}-{secrets.token_hex(4)}"  # its own name: two writers can't spoil one object
        self.held, self.held_bytes = [], 0
        await self.vault.put(key, content)
        self.pieces.append((start, len(content), key))
        self.taken -= len(content)
        self.budget.give(len(content))

    async def _keep(self) -> None:
        try:
            await self._flush()
        finally:
            await self._count()

    async def _discard(self) -> None:
        await self.vault.delete([key for _, _, key in self.pieces])

    async def _count(self) -> None:
        if self.pieces:
            pieces, self.pieces = self.pieces, []
            await self.lease.advance(pieces)


@asynccontextmanager
async def _patiently(places: asyncio.Semaphore, beat: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """One of the places, however long it takes; `beat` is called while it does."""
    while True:
        try:
            async with asyncio.timeout(LEASE_SECONDS / 4):
                await places.acquire()
            break
        except TimeoutError:
            await beat()
    try:
        yield
    finally:
        places.release()


def _now() -> datetime:
    return datetime.now().astimezone()


_COLUMNS = "id::text, user_id, device_id, sha256, length, received, media_type, metadata, state, expires_at"
_FREE = "(writer_until IS NULL OR writer_until < clock_timestamp())"
_MINE = "id = CAST(:id AS uuid) AND writer = CAST(:writer AS uuid)"
_UNTIL = "clock_timestamp() + make_interval(secs => :seconds)"
_PROMISE = sa.text(
    "INSERT INTO evidence AS e (sha256, state, media_type) VALUES (:sha256, 'PROMISED', :media)"
    " ON CONFLICT (sha256) DO UPDATE SET sha256 = e.sha256"
)  # waits for whoever collects it: either he sees this upload, or it sees that the file is gone
_SENT = sa.text("SELECT true FROM evidence_proof WHERE sha256 = :sha256 AND user_id = :user")
_CREATE = sa.text(
    "INSERT INTO upload (id, user_id, device_id, sha256, length, media_type, metadata, expires_at)"
    " SELECT CAST(:id AS uuid), CAST(:user AS text), :device, :sha256, :length, :media_type, :metadata, :expires"
    " WHERE (SELECT count(*) FROM upload WHERE user_id = CAST(:user AS text) AND state = 'RECEIVING') < :most"
    f" RETURNING {_COLUMNS}"
)
_FIND = sa.text(f"SELECT {_COLUMNS} FROM upload WHERE id = CAST(:id AS uuid)")
_CLAIM = sa.text(
    f"UPDATE upload SET writer = CAST(:writer AS uuid), writer_until = {_UNTIL}"
    f" WHERE id = CAST(:id AS uuid) AND {_FREE} AND state = ANY(CAST(:states AS text[])) RETURNING {_COLUMNS}"
)
_RELEASE = sa.text(f"UPDATE upload SET writer = NULL, writer_until = NULL WHERE {_MINE}")
_RENEW = sa.text(f"UPDATE upload SET writer_until = {_UNTIL} WHERE {_MINE}")
_ADVANCE = sa.text(
    f"UPDATE upload SET received = :to, expires_at = :expires, writer_until = {_UNTIL}"
    f" WHERE {_MINE} AND received = :from AND state = 'RECEIVING'"
)
_ADD_PIECES = sa.text(
    "INSERT INTO upload_piece (upload_id, start, size, key) SELECT CAST(:id AS uuid), start, size, key"
    " FROM unnest(CAST(:starts AS bigint[]), CAST(:sizes AS integer[]), CAST(:keys AS text[])) AS p(start, size, key)"
)
_PIECES = sa.text("SELECT key FROM upload_piece WHERE upload_id = CAST(:id AS uuid) ORDER BY start")
_END = sa.text(
    "WITH gone AS (DELETE FROM upload_piece WHERE upload_id = CAST(:id AS uuid))"
    f" UPDATE upload SET state = :state, expires_at = :expires WHERE {_MINE} AND state = 'RECEIVING'"
)
_REMOVE = sa.text("DELETE FROM upload WHERE id = CAST(:id AS uuid)")
_KNOWN = sa.text(
    "SELECT sha256, size, coalesce(media_type, 'application/octet-stream') AS media_type, thumbnail"
    " FROM evidence WHERE sha256 = :sha256 AND state = 'VERIFIED'"
)
_RECEIVED = sa.text(
    "UPDATE evidence SET state = 'RECEIVED', received_at = now(), collected_at = NULL WHERE sha256 = :sha256 AND state = 'PROMISED'"
)
_PROMISED_AGAIN = sa.text(
    "UPDATE evidence SET state = 'PROMISED', received_at = NULL WHERE sha256 = :sha256 AND state = 'RECEIVED'"
    " AND NOT EXISTS (SELECT FROM upload u WHERE u.sha256 = :sha256 AND u.state = 'RECEIVING' AND u.received = u.length)"
)
_VERIFIED = sa.text(
    "UPDATE evidence SET state = 'VERIFIED', verified_at = now(), size = :size, media_type = :media, width = :width, height = :height,"
    " thumbnail = :thumbnail, image_problem = :problem, exif_taken_at = :taken_at,"
    " exif_wgs84 = ST_SetSRID(ST_MakePoint(CAST(:lon AS float), CAST(:lat AS float)), 4326)"
    " WHERE sha256 = :sha256 AND state <> 'VERIFIED'"
)
_NAMED_AGAIN = sa.text("UPDATE evidence SET unnamed_since = NULL WHERE sha256 = :sha256")  # locks the row too: no naming slips by its proof
_UNVERIFIED = sa.text(f"SELECT {_COLUMNS} FROM upload WHERE state = 'RECEIVING' AND received = length AND {_FREE} ORDER BY id LIMIT 100")
_OVERDUE = sa.text(f"SELECT {_COLUMNS} FROM upload WHERE state = 'RECEIVING' AND expires_at <= :now AND {_FREE} ORDER BY id LIMIT 1000")
_EXPIRE = sa.text(
    "WITH gone AS (DELETE FROM upload_piece WHERE upload_id = CAST(:id AS uuid))"
    " UPDATE upload SET state = 'EXPIRED', received = 0 WHERE id = CAST(:id AS uuid) AND state = 'RECEIVING' AND expires_at <= :now"
)
_FORGET = sa.text("DELETE FROM upload WHERE state <> 'RECEIVING' AND expires_at <= :before")
