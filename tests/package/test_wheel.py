"""What users install: the wheel and the source distribution, each in an empty environment outside of the checkout.

If pyproject.toml forgets a package or a file, it is missing only there. Needs the package index, as ``make venv`` does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.long]

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop.py"
_INSTALL_S = 240.0
_COMMAND_S = 120.0


def tracked(folder: str) -> set[str]:
    """The files that git keeps below ``folder``, from there."""
    listed = subprocess.run(["git", "ls-files", folder or "."], cwd=ROOT, check=True, capture_output=True, text=True)
    return {name.removeprefix(f"{folder}/") for name in listed.stdout.splitlines()}


def built(directory: Path, *kinds: str, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """What ``python -m build`` makes, from a copy: setuptools leaves its work in the folder that it builds from."""
    copy, made = directory / "copy", directory / "dist"
    for name in tracked(""):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    run([sys.executable, "-m", "build", *kinds, "--outdir", str(made), str(copy)], directory, _INSTALL_S, environment)
    return sorted(made.iterdir())


def run(command: list[str], cwd: Path, timeout: float, env: Mapping[str, str] | None = None) -> str:
    """What the command prints; fails the test with all that it said if it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Installed:
    """dueq in an environment of its own, a working directory of its own, and a home of its own; no other server."""

    def __init__(self, package: Path, directory: Path) -> None:
        self.directory, self.bin = directory, directory / "venv" / "bin"
        directory.mkdir()
        run([sys.executable, "-m", "venv", "--without-pip", str(directory / "venv")], directory, _INSTALL_S)
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "--disable-pip-version-check"]
        pip += ["install", "--quiet", "--no-compile"]
        run([*pip, "-c", str(ROOT / "constraints.txt"), str(package)], directory, _INSTALL_S)
        (directory / "home").mkdir()
        shutil.copy(SHOP, directory / "shop.py")
        self.environment = {"PATH": str(self.bin), "HOME": str(directory / "home"), "LANG": "C.UTF-8"}

    def __call__(self, *arguments: str) -> str:
        return run([str(self.bin / "dueq"), *arguments], self.directory, _COMMAND_S, self.environment)

    def python(self, code: str) -> str:
        return run([str(self.bin / "python"), "-c", code], self.directory, _COMMAND_S, self.environment)

    def close(self) -> None:
        subprocess.run(
            [str(self.bin / "dueq"), "redis", "stop", "--yes"], env=self.environment, capture_output=True, timeout=60
        )


def has_all_of_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.removeprefix("dueq/"): archive.getinfo(name) for name in archive.namelist()}
    assert tracked("src") <= inside.keys()
    assert (inside["bundled/valkey-server"].external_attr >> 16) & 0o111
    assert "bundled/LICENSE" in inside
    assert not wheel.stem.endswith("-any")  # it is for the platform of its server


def has_all_of_the_source(source: Path) -> None:
    with tarfile.open(source) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "SECURITY.md", "CHANGELOG.md"} <= found
    assert {f"{folder}/{name}" for folder in ("src", "examples", "docs") for name in tracked(folder)} <= found


def brings_nothing_into_test_runs_of_users(installed: Installed) -> None:
    code = "from importlib.metadata import entry_points; print([e.value for e in entry_points(group='pytest11')])"
    assert installed.python(code).strip() == "[]"
    assert "BSD-3-Clause" in installed.python("import importlib.metadata as m; print(m.metadata('dueq'))")


def works(installed: Installed) -> None:
    """The first things that a user does: demo, doctor, run, schedule, status, chaos."""
    report = json.loads(installed("demo", "--limit", "200", "--workers", "2", "--json"))
    assert (report["finished"], report["lost"]) == (200, 0)
    assert json.loads(installed("doctor", "--json"))["can_run"]
    log = installed.directory / "log"
    with log.open("wb") as output:
        engine = subprocess.Popen(
            [str(installed.bin / "dueq"), "run", "shop:app", "--workers", "1", "--metrics-port", "0"],
            cwd=installed.directory,
            env=installed.environment,
            stdout=output,
            stderr=output,
        )
    try:
        installed("schedule", '{"sent": "from a shell"}', "--in", "0.2s", "--namespace", "shop")
        wait_until(lambda: b"from a shell" in log.read_bytes(), 60, what=f"it ran: {log}")
        assert json.loads(installed("status", "--namespace", "shop", "--json"))["strategy"] == "lua"
    finally:
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(60) == 0, log.read_text()
    chaos = json.loads(installed("chaos", "--scenario", "worker-kill", "--tasks", "30", "--duration", "2", "--json"))
    assert chaos["ok"], chaos


def check(package: Path, directory: Path, *checks: Callable[[Installed], None]) -> None:
    installed = Installed(package, directory / "installed")
    try:
        for each in checks:
            each(installed)
    finally:
        installed.close()


@pytest.mark.first
@pytest.mark.timeout(600)
def test_the_wheel(tmp_path: Path) -> None:
    [wheel] = built(tmp_path, "--wheel")
    has_all_of_the_wheel(wheel)
    check(wheel, tmp_path, brings_nothing_into_test_runs_of_users, works)


def has_demo(installed: Installed) -> None:
    assert json.loads(installed("demo", "--limit", "50", "--workers", "1", "--json"))["lost"] == 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_source_distribution_and_the_wheel_that_is_made_of_it(tmp_path: Path) -> None:
    source, wheel = sorted(built(tmp_path), key=lambda path: path.suffix)
    has_all_of_the_wheel(wheel)
    has_all_of_the_source(source)
    check(source, tmp_path, has_demo)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_wheel_without_a_server_is_for_every_platform(tmp_path: Path) -> None:
    [wheel] = built(tmp_path, "--wheel", environment=os.environ | {"DUEQ_WITHOUT_SERVER": "1"})
    assert wheel.stem.endswith("-py3-none-any")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "bundled" in name]
