"""What processes of this machine have used so far: memory, and processor time, which a busy machine doesn't blur."""

from __future__ import annotations

import os
from pathlib import Path

import asyncpg

_TICK = 1000 / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process."""
    fields = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS:")) / 1024


def processor_milliseconds(pid: int) -> float:
    """Processor time of a process, its own."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK


def database_milliseconds(postmaster: int) -> float:
    """Processor time of all of a database server's processes, also of those that have ended."""
    fields = _stat(postmaster)
    return (int(fields[13]) + int(fields[14])) * _TICK + sum(map(_milliseconds_if_there, _children(postmaster)))


def own_milliseconds() -> float:
    """Processor time of the servers that this process has started and that run, each its own."""
    return sum(map(_milliseconds_if_there, _children(os.getpid())))


def _milliseconds_if_there(pid: int) -> float:
    """A backend may end while we look; its parent knows its time the next time."""
    try:
        return processor_milliseconds(pid)
    except OSError:
        return 0.0


async def postmaster_of(connection: asyncpg.Connection[asyncpg.Record]) -> int | None:
    """The database server's first process; None when it runs on another machine."""
    try:
        fields = _stat(await connection.fetchval("SELECT pg_backend_pid()"))
    except OSError:
        return None
    return int(fields[1])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _stat(pid: int) -> list[str]:
    """Fields of proc(5) from the third on: the second, a name, may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
