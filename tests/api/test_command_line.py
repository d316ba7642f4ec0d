"""The verbs of the command line, and what the environment may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.__main__ import VERBS, main
from api.settings import ROOT, Settings


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_leads_to_a_function(name: str) -> None:
    assert callable(VERBS[name].load())


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_an_unknown_verb_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sevre"]) == 2
    told = capsys.readouterr().err
    assert "sevre" in told
    assert all(name in told for name in VERBS)


def test_an_impossible_port_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PORT", "80000")
    assert main(["doctor"]) == 2
    assert "PORT" in capsys.readouterr().err


def test_settings_from_an_empty_environment_suit_a_trial() -> None:
    assert Settings.from_environment({"PORT": "", "DATA": ""}) == Settings(
        database_url=None, read_database_url=None, host="127.0.0.1", port=8000, data=ROOT / ".data", production=False
    )


def test_settings_follow_the_environment() -> None:
    given = Settings.from_environment(
        {"ZHIJIAN_DATABASE_URL": "postgresql://a/b", "HOST": "0.0.0.0", "PORT": "9000", "DATA": "/srv/data", "ZHIJIAN_PRODUCTION": "1"}
    )
    assert given == Settings(database_url="postgresql://a/b", host="0.0.0.0", port=9000, data=Path("/srv/data"), production=True)
    assert not given.on_loopback


def test_a_password_does_not_show_in_the_settings() -> None:
    assert "secret" not in repr(Settings(database_url="postgresql://u:secret@h/d", read_database_url="postgresql://u:secret@h/d"))
