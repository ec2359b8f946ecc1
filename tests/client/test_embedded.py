"""The embedded server, for real: started, shared, killed, repaired and stopped."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dueq.core.client.connection import connect
from dueq.core.client.embedded import EmbeddedServer, default_directory, find_binary
from dueq.core.errors import ConfigurationError, EmbeddedServerError

START = """
import sys
from pathlib import Path
from dueq.core.client.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print(server.start(), server.pid())
"""


def processes_in(directory: Path) -> list[int]:
    """The pids of all processes that work in ``directory``."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == directory:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def write(server: EmbeddedServer, key: str, value: str) -> None:
    client = connect(server.url)
    client.set(key, value)
    client.close()


def read(server: EmbeddedServer, key: str) -> object:
    client = connect(server.url)
    try:
        return client.get(key)
    finally:
        client.close()


def running_pid(server: EmbeddedServer) -> int:
    pid = server.pid()
    assert pid is not None
    return pid


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory whose path leaves room for a socket's."""
    path = tmp_path_factory.mktemp("t")
    monkeypatch.setattr("tempfile.tempdir", str(path))
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "d")
    yield server
    server.stop()
    assert processes_in(server.directory) == []


def test_start_find_again_stop(server: EmbeddedServer) -> None:
    assert not server.running()
    assert server.pid() is None
    assert server.stop() is False
    assert not server.directory.exists()  # asking creates nothing

    url = server.start()
    again = EmbeddedServer(server.directory)
    assert again.start() == url == again.url
    assert again.running()
    assert again.pid() == server.pid() in processes_in(server.directory)
    write(again, "key", "kept")

    assert again.stop() is True
    assert not server.running()
    assert server.stop() is False
    server.start()
    assert read(server, "key") == b"kept"


def test_everything_is_private(server: EmbeddedServer) -> None:
    server.start()
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    for path in server.directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    process = psutil.Process(running_pid(server))
    assert [c for c in process.net_connections() if c.family.name != "AF_UNIX"] == []


def test_server_is_detached_and_inherits_only_the_lock(server: EmbeddedServer) -> None:
    with (server.directory.parent / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        before = psutil.Process().num_fds()
        server.start()
        assert psutil.Process().num_fds() == before
    pid = running_pid(server)
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    assert psutil.Process(pid).ppid() != os.getpid()
    directory = Path(f"/proc/{pid}/fd")
    if directory.exists():
        targets = {int(fd.name): str(fd.readlink()) for fd in directory.iterdir()}
        assert [targets[fd] for fd in (0, 1, 2)] == ["/dev/null"] * 3
        files = [t for fd, t in targets.items() if fd > 2 and t.startswith("/") and "appendonly" not in t]
        assert [Path(t).name for t in files if t != "/dev/null"] == ["lock"]


def test_eight_starters_share_one_server(server: EmbeddedServer) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(server.directory)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(8)
    ]
    said = {starter.communicate(timeout=60)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0] * 8
    assert said == {f"{server.url} {server.pid()}\n"}
    assert processes_in(server.directory) == [server.pid()]  # it outlived its starter, and is alone


def test_kill_9_leaves_nothing_in_the_way_and_loses_nothing(server: EmbeddedServer) -> None:
    server.start()
    write(server, "key", "kept")
    killed = running_pid(server)
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while processes_in(server.directory) and time.monotonic() < deadline:
        time.sleep(0.005)

    assert (server.directory / "redis.sock").exists()  # stale, as is the pid file
    assert not server.running()
    assert server.pid() is None
    assert server.stop() is False
    server.start()
    assert server.pid() != killed
    assert read(server, "key") == b"kept"


def test_pid_of_somebody_else_is_never_believed(server: EmbeddedServer) -> None:
    server.start()
    (server.directory / "redis.pid").write_text(f"{os.getpid()}\n")
    assert server.pid() is None
    assert server.running()
    assert server.stop() is True  # through the socket alone


def test_hung_server_is_neither_doubled_nor_forgotten(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.start()
    pid = running_pid(server)
    monkeypatch.setattr("dueq.core.client.embedded._START_S", 0.3)
    monkeypatch.setattr("dueq.core.client.embedded._PING_S", 0.1)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert server.running()
        with pytest.raises(EmbeddedServerError, match=f"pid {pid}.*does not answer"):
            server.start()
        with pytest.raises(EmbeddedServerError, match=r"did not stop within 0\.2 s"):
            server.stop(timeout=0.2)
        assert processes_in(server.directory) == [pid]
    finally:
        os.kill(pid, signal.SIGCONT)
        monkeypatch.undo()  # the server is stopped with the usual patience


def test_deep_directory_keeps_only_its_socket_elsewhere(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(tmp_path / ("deep " * 12) / ("deeper %2F\"'#?" * 8) / "d")
    try:
        server.start()
        write(server, "key", "kept")
        folder = next(temporary.iterdir())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path.name for path in folder.iterdir()] == ["redis.sock"]
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # another process, another TMPDIR
        assert EmbeddedServer(server.directory).running()
        os.kill(running_pid(server), signal.SIGKILL)
        server.start()
        assert read(server, "key") == b"kept"
        folder.chmod(0o755)
        with pytest.raises(EmbeddedServerError, match="private"):
            server.start()
        folder.chmod(0o700)
    finally:
        server.stop()
    assert list(temporary.iterdir()) == []


def test_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(directory, 65534, 65534)
    else:
        us = os.geteuid()
        monkeypatch.setattr("os.geteuid", lambda: us + 1)
    with pytest.raises(EmbeddedServerError, match="belongs to another user"):
        EmbeddedServer(directory).start()
    assert list(directory.iterdir()) == []


def test_open_directory_is_closed_only_if_it_is_dueqs_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    (home / "letter").touch()
    with pytest.raises(EmbeddedServerError, match="holds other files"):
        EmbeddedServer(home).start()
    assert stat.S_IMODE(home.stat().st_mode) == 0o755

    (home / "letter").unlink()
    server = EmbeddedServer(home)
    try:
        server.start()
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    finally:
        server.stop()


def test_options_override_the_defaults(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "d", options={"appendfsync": "always", "save": "900 1"})
    server.start()
    client = connect(server.url)

    def setting(name: str) -> str | None:
        return client.config_get(name).get(name)

    try:
        assert setting("appendfsync") == "always"
        assert setting("save") == "900 1"
        assert setting("maxmemory-policy") == "noeviction"
        assert setting("appendonly") == "yes"
    finally:
        client.close()
        server.stop()
    with pytest.raises(ConfigurationError, match="unixsocket"):
        EmbeddedServer(tmp_path / "d", options={"unixsocket": "/elsewhere"})


def test_temporary_directory_too_deep_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("deep" * 20)))
    with pytest.raises(EmbeddedServerError, match="TMPDIR"):
        EmbeddedServer(tmp_path / ("deep" * 20)).start()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"no-such-setting": "1"}, "no-such-setting"), ({"appenddirname": "../x"}, "appenddirname")],
)
def test_bad_setting_is_shown_from_the_log(tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(EmbeddedServerError, match=said):
        EmbeddedServer(tmp_path / "d", options=options).start()
    assert processes_in(tmp_path / "d") == []


def test_server_that_dies_in_the_background_is_shown_from_the_log(server: EmbeddedServer) -> None:
    server.start()
    write(server, "key", "kept")
    server.stop()
    logs = list((server.directory / "appendonlydir").glob("*.incr.aof")) or [server.directory / "appendonly.aof"]
    whole = logs[0].read_bytes()
    logs[0].write_bytes(b"*2\r\nnonsense" + whole)
    with pytest.raises(EmbeddedServerError, match=r"(?s)exited while starting.*Bad file format"):
        server.start()
    logs[0].write_bytes(whole)
    server.start()
    assert read(server, "key") == b"kept"


def test_broken_binary_is_named_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("DUEQ_REDIS_SERVER", str(broken))
    with pytest.raises(EmbeddedServerError, match=r"(?s)broken exited with status 3.*out of order"):
        EmbeddedServer(tmp_path / "d").start()

    broken.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("dueq.core.client.embedded._START_S", 0.2)
    with pytest.raises(EmbeddedServerError, match="did not go to the background"):
        EmbeddedServer(tmp_path / "d").start()
    assert processes_in(tmp_path / "d") == []


def test_binary_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(name: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    monkeypatch.delenv("DUEQ_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    bundled = find_binary()
    assert bundled.parts[-2:] == ("bundled", "valkey-server")
    redis_server = program("redis-server")
    assert find_binary() == redis_server
    valkey_server = program("valkey-server")
    assert find_binary() == valkey_server
    monkeypatch.setenv("DUEQ_REDIS_SERVER", str(program("mine")))
    assert find_binary() == tmp_path / "bin" / "mine"
    monkeypatch.setenv("DUEQ_REDIS_SERVER", str(tmp_path / "nothing"))
    with pytest.raises(EmbeddedServerError, match="DUEQ_REDIS_SERVER names"):
        find_binary()
    monkeypatch.delenv("DUEQ_REDIS_SERVER")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("dueq.core.client.embedded._packaged_binary", lambda: tmp_path / "none")
    with pytest.raises(EmbeddedServerError, match="install valkey-server"):
        find_binary()


def test_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DUEQ_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_directory() == tmp_path / ".local" / "share" / "dueq"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert default_directory() == tmp_path / "xdg" / "dueq"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_directory() == tmp_path / ".local" / "share" / "dueq"
    monkeypatch.setenv("DUEQ_DIR", "~/mine")
    assert default_directory() == tmp_path / "mine"
