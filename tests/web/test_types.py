"""What the compiler promises of the page."""

from __future__ import annotations

import subprocess

from api import bootstrap


def test_the_page_is_clean_under_strict_types_and_its_lock_names_no_registry() -> None:
    bootstrap.install_web()
    done = subprocess.run(["npx", "--no-install", "tsc"], cwd=bootstrap.WEB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert '"resolved"' not in (bootstrap.WEB / "package-lock.json").read_text()
