"""A server as a child is waited for, killed, started again. Where no more matters, a few lines of Python stand for the real one."""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from api.server_process import ServerError, ServerProcess
from api.settings import Settings

ANSWERS = """
import http.server, os
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Ready).serve_forever()
"""
DIES = "raise SystemExit('no keys')"


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return Settings(port=port, data=tmp_path)


def test_it_is_ready_again_after_kill(here: Settings) -> None:
    with ServerProcess(here, [sys.executable, "-c", ANSWERS]) as server:
        server.kill()
        assert not server.alive
        assert not server.ready()
        server.start()
        server.wait_ready()
        assert server.ready()
    assert not server.alive


def test_a_server_that_ends_says_why(here: Settings) -> None:
    server = ServerProcess(here, [sys.executable, "-c", DIES])
    server.start()
    with pytest.raises(ServerError, match="no keys"):
        server.wait_ready()


def test_a_taken_port_is_named(here: Settings) -> None:
    with socket.create_server((here.host, here.port)), pytest.raises(ServerError, match="PORT="):
        ServerProcess(here, [sys.executable, "-c", ANSWERS]).start()


def test_the_real_server_comes_back_after_kill_and_ends_cleanly(here: Settings, database_url: str) -> None:
    server = ServerProcess(replace(here, database_url=database_url))
    server.start()
    server.wait_ready()
    server.kill()
    server.start()
    server.wait_ready()
    server.stop()
    assert server.wait() == 0
    assert "Traceback" not in server.log.read_text()
    assert not (here.data / "cluster").exists()
