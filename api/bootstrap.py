"""Makes a fresh machine ready, with nothing but Python's standard library: system packages, virtual environment, web client.

`python3 -m api.bootstrap [system] [python] [web]`, as the Makefile calls it. What is there already is left alone, so that a second run is
quick; stamps beside what was made say from which files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
WEB = ROOT / "web"
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CJK_FONTS = ("/usr/share/fonts/opentype/noto", "/usr/share/fonts/noto-cjk", "/usr/share/fonts/google-noto-cjk")


class SetupError(Exception):
    """Something only the person at the machine can put right; the message says how."""


def missing_packages(*, database: bool, browser: bool) -> list[str]:
    """Debian packages that the job needs and the machine lacks."""
    wanted = {
        f"python{sys.version_info.major}.{sys.version_info.minor}-venv": not VENV.exists() and not _has_venv(),
        "postgresql-postgis": database and not has_postgis(),
        "chromium": browser and not find_browser(),
        "fonts-noto-cjk": browser and not any(Path(folder).exists() for folder in CJK_FONTS),
    }
    return [name for name, needed in wanted.items() if needed]


def has_postgis() -> bool:
    """Whether some installed PostgreSQL has PostGIS (see `api.cluster.binaries`)."""
    servers = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return any(Path(f"/usr/share/postgresql/{path.parts[-3]}/extension/postgis.control").exists() for path in servers)


def find_browser() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def node_version() -> int:
    """Major version of the Node that runs by name, 0 if none does."""
    for folder in (VENV / "bin", None):
        program = shutil.which("node", path=str(folder) if folder else None)
        if program and shutil.which("npm", path=str(Path(program).parent)):
            answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
            return int(answer.strip().lstrip("v").split(".")[0] or 0)
    return 0


def install_system(*, database: bool, browser: bool) -> None:
    """Install what is missing with apt, as root or by sudo without a password; raises SetupError with the command otherwise."""
    names = missing_packages(database=database, browser=browser)
    if not names:
        return
    prefix = _apt_prefix(names)
    options = ["-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]
    _run("package lists", [*prefix, "apt-get", "update", "-q"], quiet=True)
    command = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", *options, *names]
    _run(f"system packages {' '.join(names)}", command, quiet=True)
    still = missing_packages(database=database, browser=browser)
    if still:
        raise SetupError(f"apt-get installed {' '.join(names)}, but {' '.join(still)} can't be found: `python -m api doctor` says more.")


def install_python() -> None:
    """The virtual environment with exactly what requirements.lock names, checked by hash."""
    if not (VENV / "bin" / "python").exists():
        _run("virtual environment", [sys.executable, "-m", "venv", str(VENV)])
    lock = ROOT / "requirements.lock"
    _once(VENV / ".lock-installed", [lock], lambda: _pip("Python packages from requirements.lock", lock))


def install_web() -> None:
    """Node if the machine has none, the web client's packages, and the built client in web/dist."""
    if not (WEB / "package-lock.json").exists():
        return
    if node_version() < OLDEST_NODE:
        _pip("Node from PyPI", ROOT / "requirements-node.lock")
    npm = ["npm", "--no-audit", "--no-fund", "--loglevel=error"]
    _once(WEB / "node_modules" / ".lock-installed", [WEB / "package-lock.json"], lambda: _run("web packages", [*npm, "ci"], WEB))
    _once(WEB / "dist" / ".built-from", _web_sources(), lambda: _run("web client", [*npm, "run", "--silent", "build"], WEB))


def _has_venv() -> bool:
    return importlib.util.find_spec("ensurepip") is not None


def _apt_prefix(names: list[str]) -> list[str]:
    listed = " ".join(names)
    if not shutil.which("apt-get"):
        raise SetupError(
            f"Missing: {listed} (names of Debian packages). Install them with this machine's package manager, then run make again."
        )
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0:  # noqa: S607
        return ["sudo", "-n"]
    raise SetupError(f"Missing: {listed}. Run `sudo apt-get install -y {listed}`, then make again.")


def _pip(what: str, lock: Path) -> None:
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r", str(lock)]
    _run(what, command, quiet=True)


def _web_sources() -> list[Path]:
    skip = {"node_modules", "dist"}
    found = (path for path in sorted(WEB.rglob("*")) if not skip.intersection(path.relative_to(WEB).parts))
    return [path for path in found if path.is_file()]


def _once(stamp: Path, sources: Iterable[Path], make: Callable[[], None]) -> None:
    """Call `make` unless `stamp` says that it was done with these very `sources`."""
    wanted = _fingerprint(sources)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    make()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted)


def _fingerprint(sources: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sources:
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(what: str, command: list[str], folder: Path = ROOT, *, quiet: bool = False) -> None:
    """`quiet`: what the command says is shown only when it fails."""
    began = time.monotonic()
    print(f"set-up: {what} …", flush=True)
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path, "NPM_CONFIG_UPDATE_NOTIFIER": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    output = subprocess.PIPE if quiet else None
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output and subprocess.STDOUT, check=False
    )
    if done.returncode:
        print((done.stdout or b"").decode(errors="replace"), end="")
        raise SetupError(f"`{' '.join(command)}` failed with exit code {done.returncode}; its own words stand above.")
    print(f"set-up: {what} ({time.monotonic() - began:.0f} s)", flush=True)


def main(arguments: list[str]) -> int:
    """`demo`, `test` or `python`: what to get ready for."""
    job = arguments[0] if arguments else "demo"
    try:
        if sys.version_info < OLDEST_PYTHON:
            raise SetupError(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}: set PYTHON= to a later one.")
        install_system(database=job == "test" or not os.environ.get("ZHIJIAN_DATABASE_URL"), browser=job == "test")
        install_python()
        if job != "python":
            install_web()
    except SetupError as problem:
        print(f"set-up: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
