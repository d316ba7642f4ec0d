"""A server as a child process, for those who must be able to kill it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from api.settings import ROOT, Settings

SERVE = (sys.executable, "-m", "api", "serve")


class ServerError(Exception):
    """The server did not come up; the message ends with its last words."""


class ServerProcess:
    """`python -m api serve` with `settings`; its output goes to server.log in the data folder.

    As a context manager it starts, waits until it is ready, and stops at the end.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = SERVE) -> None:
        self.settings = settings
        self.command = tuple(command)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    @property
    def log(self) -> Path:
        return self.settings.data / "server.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; nothing to do if it runs. Raises ServerError when the port is taken."""
        if self.alive:
            return
        _require_free(self.settings)
        self.settings.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches us, and we stop it in order.
            self.process = subprocess.Popen(  # noqa: S603
                self.command,
                cwd=ROOT,
                env=_environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, seconds: float = 60) -> None:
        """Return when /readyz says yes. Raises ServerError when the process ends or `seconds` have passed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive:
            if self.ready():
                return
            time.sleep(0.05)
        why = "is not ready" if self.alive else "ended"
        raise ServerError(f"The server {why}: see {self.log}\n{self._last_words()}")

    def ready(self) -> bool:
        connection = http.client.HTTPConnection(self.settings.host, self.settings.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self.process.wait() if self.process else 0

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self, seconds: float = 15) -> None:
        """Ask it to finish its requests and end; after `seconds` it is killed."""
        if self.process and self.alive:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.kill()

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _last_words(self) -> str:
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-2000:]
        return ""


def _environment(settings: Settings) -> dict[str, str]:
    given = {
        "ZHIJIAN_DATABASE_URL": settings.database_url or "",
        "ZHIJIAN_READ_DATABASE_URL": settings.read_database_url or "",
        "ZHIJIAN_EVIDENCE_URL": settings.evidence_url or "",
        "ZHIJIAN_EVIDENCE_BYTES": str(settings.evidence_bytes),
        "ZHIJIAN_PRODUCTION": "1" if settings.production else "0",
        "ZHIJIAN_DEVICE_KEYS": "1" if settings.device_keys else "0",
        "ZHIJIAN_OLDEST_CLIENT": settings.oldest_client,
        "HOST": settings.host,
        "PORT": str(settings.port),
        "DATA": str(settings.data),
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **given}


def _require_free(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ServerError(
                f"Port {settings.port} on {settings.host} can't be had ({error.strerror}): choose another with PORT=."
            ) from error
