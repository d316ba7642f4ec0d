"""The project stays what its layout promises: our own four packages, no addresses, no traces of a machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from api.settings import ROOT

PACKAGES = ("api", "geo", "schema", "sync")
LOCKS = ("requirements.lock", "requirements-node.lock")
# Put together here, so that this file holds none of them itself.
REGISTRIES = [
    ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs", "org"), ("deb", "debian", "org"))
]
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(?:work|root|home/\w+|tmp/(?!zhijian)\w+)/")
PROSE = {".md", ".svg", ".png", ".lock", ".json"}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("name", PACKAGES)
def test_our_package_is_the_one_in_the_root(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")


def test_no_installed_distribution_owns_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    assert {name: owners[name] for name in PACKAGES if name in owners} == {}


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_only_the_agreed_folders_stand_at_the_top() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    assert folders <= {*PACKAGES, "tests", "docker", "web", ".ci"}


def test_tracked_files_name_no_registry_host() -> None:
    found = [f"{path.relative_to(ROOT)}: {host}" for path in tracked() for host in REGISTRIES if host in text_of(path)]
    assert found == []


def test_tracked_files_name_no_path_of_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path != Path(__file__)
        for match in MACHINE_PATHS.finditer(text_of(path))
    ]
    assert found == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_has_hashes_and_no_addresses(name: str) -> None:
    content = (ROOT / name).read_text()
    assert "://" not in content
    assert not re.search(r"^\s*--(?!hash=)", content, re.MULTILINE)
    for block in re.split(r"\n(?=\S)", content):
        if "==" in block:
            assert "--hash=sha256:" in block, block


def test_npm_lock_has_no_addresses() -> None:
    lock = ROOT / "web" / "package-lock.json"
    assert '"resolved"' not in lock.read_text()


def test_lock_holds_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[\[<>=!~ ]", line)[0].lower().replace("_", "-") for line in declared}
    locked = {line.partition("==")[0].partition("[")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert names - locked == set()
