"""Devices in GraphQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry import Info

from api import devices
from api.accounts_graphql import DeviceInput, facts
from api.context import RequestContext
from api.tokens import verify
from schema.problems import Refused

ContextInfo = Info[RequestContext, None]


@strawberry.type(description="A terminal or phone. unsentUnknownSince: what a locked device had not sent by then is not known.")
class Device:
    id: strawberry.ID
    user_id: strawberry.ID
    username: str
    display_name: str
    name: str
    platform: str
    client_version: str
    outdated: bool
    enrolled_at: datetime | None
    last_seen_at: datetime
    clock_offset_ms: float | None
    clock_measured_at: datetime | None
    offline_bytes: float | None
    unsent: int | None
    reported_at: datetime | None
    held_at: datetime | None
    lag: float | None = strawberry.field(description="Changes that the feed has had since a pull of this device last reached its end.")
    revoked_at: datetime | None
    revoked_for: str | None
    wiped_at: datetime | None
    unsent_unknown_since: datetime | None


@strawberry.type(description="A code to type into a new device; good once.")
class DeviceCode:
    code: str
    expires_at: datetime


@strawberry.type(description="What this device must know. wipe: remove everything that it holds, then say confirmWipe.")
class DeviceState:
    wipe: bool
    outdated: bool
    oldest_client_version: str
    device_keys_required: bool
    enrolled: bool
    server_time: datetime


async def list_devices(info: ContextInfo) -> list[Device]:
    context = info.context
    async with context.database.engine.connect() as connection:
        rows = await devices.devices(connection, context.signed_in())
    return [_device(row, context.settings.oldest_client) for row in rows]


async def device_state(info: ContextInfo) -> DeviceState:
    async with info.context.database.engine.connect() as connection:
        return await _state(info, connection, _device_id(info))


async def issue_device_code(info: ContextInfo, user_id: strawberry.ID) -> DeviceCode:
    context = info.context
    async with context.database.engine.begin() as connection:
        made = await devices.issue_code(connection, context.signed_in(), user_id, context.now)
    return DeviceCode(code=made.code, expires_at=made.expires_at)


async def enrol_device(info: ContextInfo, code: str, device: DeviceInput) -> bool:
    context = info.context
    thumbprint = context.accounts.proofs.thumbprint(context.proof, None, context.now)
    attempt = await context.accounts.count_enrolment(context.address, context.now)
    async with context.database.engine.begin() as connection:
        await devices.enrol(connection, code, facts(device), thumbprint, context.now)
        await context.accounts.forget_attempt(connection, attempt)
    return True


async def report_device(
    info: ContextInfo, client_version: str | None = None, offline_bytes: float | None = None, unsent: int | None = None
) -> DeviceState:
    context = info.context
    actor = context.signed_in()
    async with context.database.engine.begin() as connection:
        await devices.report(connection, actor, devices.Report(client_version, _natural(offline_bytes), _natural(unsent)), context.now)
        return await _state(info, connection, actor.device_id or "")


async def revoke_device(info: ContextInfo, id: strawberry.ID, reason: str) -> bool:  # noqa: A002
    context = info.context
    actor = context.signed_in()
    async with context.database.engine.begin() as connection:
        await devices.revoke(connection, actor, id, reason, context.now)
    context.accounts.forget(None)
    return True


async def confirm_wipe(info: ContextInfo) -> bool:
    context = info.context
    device_id = _device_id(info)
    async with context.database.engine.begin() as connection:
        if context.actor is None:  # nobody has looked at the proof yet
            context.accounts.prove(await devices.thumbprint(connection, device_id), context.proof, context.token, context.now)
        return await devices.wiped(connection, device_id, context.now)


def _device_id(info: ContextInfo) -> str:
    """The device of the access token, also a locked one that was off for long: it must be able to ask what to do. Raises Refused."""
    context = info.context
    if context.actor is None and context.refusal and context.refusal.code not in ("DEVICE_REVOKED", "TOKEN_EXPIRED"):
        raise Refused(context.refusal)
    if not context.token:
        context.signed_in()
    return verify(context.accounts.keys, context.token or "", context.now, also_expired=True).device_id


async def _state(info: ContextInfo, connection: Any, device_id: str) -> DeviceState:
    found = await devices.state(connection, device_id, info.context.settings)
    return DeviceState(
        wipe=found.wipe,
        outdated=found.outdated,
        oldest_client_version=found.oldest_client,
        device_keys_required=found.keys_required,
        enrolled=found.enrolled,
        server_time=info.context.now,
    )


def _natural(value: Any) -> int | None:
    """Beyond a bigint a figure says nothing."""
    return int(value) if value is not None and 0 <= int(value) < 2**31 * 2**31 else None


def _device(row: Any, oldest: str) -> Device:
    names = set(Device.__dataclass_fields__) - {"outdated", "unsent_unknown_since", "id", "user_id"}
    return Device(
        id=strawberry.ID(row["id"]),
        user_id=strawberry.ID(str(row["user_id"])),
        outdated=devices.outdated(row["client_version"], oldest),
        unsent_unknown_since=row["last_seen_at"] if row["revoked_at"] else None,
        **{name: row[name] for name in names},
    )


@strawberry.type
class DeviceQuery:
    devices: list[Device] = strawberry.field(resolver=list_devices, description="Devices of those over whom one is, and one's own.")
    device_state: DeviceState = strawberry.field(resolver=device_state, description="What this device must know; a locked one may ask too.")


@strawberry.type
class DeviceMutation:
    issue_device_code: DeviceCode = strawberry.mutation(resolver=issue_device_code, description="A code for one new device of a person.")
    enrol_device: bool = strawberry.mutation(
        resolver=enrol_device, description="Binds a device to the key with which this request is signed (DPoP); other sessions on it end."
    )
    report_device: DeviceState = strawberry.mutation(resolver=report_device, description="What this device says of itself while it works.")
    revoke_device: bool = strawberry.mutation(resolver=revoke_device, description="Locks a device and tells it to wipe itself.")
    confirm_wipe: bool = strawberry.mutation(resolver=confirm_wipe, description="A locked device says that it holds nothing any more.")
