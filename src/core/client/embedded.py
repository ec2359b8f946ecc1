"""The Redis server that dueq starts by itself: one per directory, shared by all dueq processes that use it.

The kernel, not a file, says whether a server runs: the starter takes an flock and the server inherits it, so it is held
exactly as long as the server lives, however it dies. A socket or pid file left behind by kill -9 therefore means
nothing, and no two servers can ever write the same data.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import quote

from redis.exceptions import BusyLoadingError, RedisError, ResponseError, TimeoutError

from ..errors import ConfigurationError, EmbeddedServerError
from ..process import private_files
from .connection import connect

_START_S = 30.0
_PING_S = 1.0
_POLL_S = 0.005
_LONGEST_SOCKET = 103  # bytes: sockaddr_un holds 104 with the closing NUL on macOS, 108 on Linux
_LOG_LINES = 15
_STOPPED = "stopped"
"""The file that says that the server was stopped on purpose."""
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_OURS = frozenset({"dir", "unixsocket", "pidfile", "logfile", "daemonize"})
_DEFAULTS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    # Plain commands instead of a binary snapshot: Redis cannot read Valkey's snapshots, and the next start may find
    # another server on the PATH than the last one did.
    "aof-use-rdb-preamble": "no",
    "maxmemory-policy": "noeviction",
}


def find_binary() -> Path:
    """The server to start: ``$DUEQ_REDIS_SERVER``, else one on the PATH (Valkey first), else the packaged one.

    Raises EmbeddedServerError, saying what to do, if there is none or the variable names no program.
    """
    if wanted := os.environ.get("DUEQ_REDIS_SERVER"):
        if found := shutil.which(wanted):
            return Path(found).absolute()
        raise EmbeddedServerError(f"DUEQ_REDIS_SERVER names {wanted!r}, which is not a program that can be run here")
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found).absolute()
    if os.access(_packaged_binary(), os.X_OK):
        return _packaged_binary()
    raise EmbeddedServerError(
        "there is no Redis server to start (this dueq brings none for this platform): install valkey-server or "
        "redis-server, or name one with DUEQ_REDIS_SERVER, or use a running server with DUEQ_REDIS_URL"
    )


def _packaged_binary() -> Path:
    # put there when dueq's wheel was made for this platform (setup.py); a wheel for all platforms has none
    return Path(__file__).parents[2] / "bundled" / "valkey-server"


def default_directory() -> Path:
    """Where the server keeps its data: ``$DUEQ_DIR``, else ``$XDG_DATA_HOME/dueq``, else ``~/.local/share/dueq``."""
    if chosen := os.environ.get("DUEQ_DIR"):
        return Path(chosen).expanduser()
    data_home = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not data_home.is_absolute():  # unset, or to be ignored as the XDG specification asks
        try:
            data_home = Path.home() / ".local" / "share"
        except RuntimeError:
            raise EmbeddedServerError("there is no home directory to keep data in: set DUEQ_DIR") from None
    return data_home / "dueq"


class EmbeddedServer:
    """The server of one directory, whichever process started it.

    ``options`` are settings of redis.conf that override the defaults (``{"appendfsync": "always"}``); they count
    only for the call that really starts the server. Needs Redis 4 or later, or Valkey.
    """

    def __init__(self, directory: Path, *, options: Mapping[str, str] = _NO_OPTIONS) -> None:
        """Nothing is started or created. Raises ConfigurationError for an option that is dueq's own to set."""
        if taken := sorted(_OURS & options.keys()):
            raise ConfigurationError(f"the embedded server's {', '.join(taken)} cannot be set: dueq sets it itself")
        self.directory = Path(os.path.realpath(directory))  # one directory, one name: the socket's may derive from it
        self._options = dict(options)

    @property
    def url(self) -> str:
        """The server's address, whether it runs or not."""
        return f"unix://{quote(os.fsencode(self._socket))}?db=0"

    def start(self, *, silence: float | None = None) -> str:
        """Start the server unless it runs, wait until it serves, and return its address.

        However many processes call this at once, one server starts. It outlives them all and gets none of their
        signals. Raises EmbeddedServerError if the directory is not private to this user, or if the server exits,
        hangs or still loads its data after 30 seconds (it goes on loading then); or, if ``silence`` is given, as soon
        as it has said nothing for that many seconds.
        """
        began = seen_at = time.monotonic()
        state = ""
        self._own_directory()
        launched = False
        log_start = 0
        while (now := time.monotonic()) < began + _START_S and now < seen_at + (silence or _START_S):
            if (state := self._probe()) == "ready":
                return self.url
            if state != "silent":
                seen_at = time.monotonic()
            lock = self._take_lock(create=True)
            if lock is None:  # held by a server that is not ready yet, or by another starter
                time.sleep(_POLL_S)
                continue
            try:
                if launched:
                    raise self._failure("exited while starting", log_start)
                log_start = self._log.stat().st_size if self._log.exists() else 0
                self._launch(lock, log_start)
                launched = True
            except OSError as error:
                raise EmbeddedServerError(f"cannot start a Redis server in {self.directory}: {error}") from error
            finally:
                os.close(lock)
        trouble = "still loads its data" if state == "loading" else "does not answer"
        raise EmbeddedServerError(
            f"the Redis server in {self.directory} (pid {self.pid() or 'unknown'}) {trouble} after "
            f"{now - began:.0f} s; see {self._log}, then try again, or end that process"
        )

    def running(self) -> bool:
        """True if the server runs, even if it is loading or hangs."""
        return self._probe() != "none" or self.pid() is not None

    def lives(self) -> bool:
        """True if the server's process is there, or one that starts it. Only the kernel is asked."""
        return self._held()

    def was_stopped(self) -> bool:
        """Whether the last server was ended by ``stop``."""
        try:
            private_files.read(self.directory, _STOPPED)
        except OSError:
            return False
        return True

    def connections(self) -> int:
        """How many connections others have to the server; 0 if it does not reply."""
        client = connect(self.url, timeout=_PING_S)
        try:
            return len(client.client_list()) - 1
        except (RedisError, OSError):
            return 0
        finally:
            client.close()

    def pid(self) -> int | None:
        """The server's process id; None if it does not run, or not where this process can see it."""
        try:
            pid = int(private_files.read(self.directory, "redis.pid"))
        except (OSError, ValueError):
            return None
        return pid if self._is_ours(pid) and self._held() else None

    def stop(self, timeout: float = 10.0) -> bool:
        """Stop the server and wait until its process is gone, data safe; False if none was running.

        The server gets SHUTDOWN, and SIGTERM after half of ``timeout`` (seconds); both save everything.
        Raises EmbeddedServerError if it is still there after ``timeout``.
        """
        if not self.running():
            return False
        pid = self.pid()
        private_files.write(self.directory, _STOPPED, b"")
        deadline = time.monotonic() + timeout
        client = connect(self.url, timeout=timeout / 2)
        try:
            client.shutdown()
        except (RedisError, OSError):
            pass  # hung, or refused: the signal is next, and the process is what counts
        finally:
            client.close()

        def gone() -> bool:
            # The lock alone does not tell: another process may have started the next server already.
            return not self._held() or (self.pid() is not None if pid is None else not self._is_ours(pid))

        stopped = _wait_until(gone, deadline - timeout / 2)
        if not stopped and pid is not None and self._is_ours(pid):
            os.kill(pid, signal.SIGTERM)
            stopped = _wait_until(gone, deadline)
        if not stopped:
            raise EmbeddedServerError(
                f"the Redis server in {self.directory} (pid {pid or 'unknown'}) did not stop within {timeout:g} s; "
                f"see {self._log}; kill -9 ends it, at the risk of the last second of writes"
            )
        self._tidy()
        return True

    @property
    def _log(self) -> Path:
        return self.directory / "redis.log"

    @property
    def _socket(self) -> Path:
        """The socket, in the directory if its path fits into a socket address, else in the temporary directory."""
        socket = self.directory / "redis.sock"
        if len(os.fsencode(socket)) <= _LONGEST_SOCKET and str(socket).isprintable():
            return socket
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        folder = f"dueq-{os.geteuid()}-{digest}"
        try:  # processes may disagree about TMPDIR: the starter's choice counts
            chosen = Path(os.fsdecode(private_files.read(self.directory, "socket-path")))
        except OSError:
            return Path(tempfile.gettempdir(), folder, "redis.sock")
        if not chosen.is_absolute() or (chosen.parent.name, chosen.name) != (folder, "redis.sock"):
            raise EmbeddedServerError(f"{self.directory / 'socket-path'} does not hold what dueq wrote: remove it")
        return chosen

    def _own_directory(self) -> None:
        """Make the directory private to this user. Raises EmbeddedServerError if it cannot or should not be."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_ours(self.directory)
            is_open = stat.S_IMODE(self.directory.stat().st_mode) & 0o077
            if is_open:
                # Only what is empty or was made by us is closed to others: never somebody's home or /tmp.
                if any(self.directory.iterdir()) and not (self.directory / "lock").exists():
                    raise EmbeddedServerError(
                        f"{self.directory} holds other files and is open to other users: choose a directory for dueq "
                        f"alone with DUEQ_DIR, or close this one with chmod 700"
                    )
                self.directory.chmod(0o700)
            private_files.require_all(self.directory)  # nobody else can add anything any more
        except OSError as error:
            raise EmbeddedServerError(f"cannot use {self.directory}: {error}; choose another with DUEQ_DIR") from error

    def _own_socket_directory(self) -> None:
        if self._socket.parent != self.directory:
            if len(os.fsencode(self._socket)) > _LONGEST_SOCKET:
                raise EmbeddedServerError(
                    f"{self._socket} is too long for a socket's path: choose a shorter DUEQ_DIR or TMPDIR"
                )
            self._socket.parent.mkdir(mode=0o700, exist_ok=True)
            _require_private(self._socket.parent)
            private_files.write(self.directory, "socket-path", os.fsencode(self._socket))

    def _take_lock(self, *, create: bool = False) -> int | None:
        """A file descriptor that holds the lock, or None if a server or a starter has it (or, unless ``create``, if
        there was never a server here)."""
        try:
            lock = private_files.open_file(self.directory, "lock", os.O_RDWR | (os.O_CREAT if create else 0))
        except OSError as error:
            if create:
                raise EmbeddedServerError(f"cannot open the lock in {self.directory}: {error}") from error
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError as error:
            os.close(lock)
            raise EmbeddedServerError(
                f"{self.directory} is on a file system without locks ({error}); choose another with DUEQ_DIR"
            ) from error
        return lock

    def _held(self) -> bool:
        """True if a server, or a process that is starting one, has the lock."""
        lock = self._take_lock()
        if lock is None:
            return (self.directory / "lock").exists()
        os.close(lock)
        return False

    def _launch(self, lock: int, log_start: int) -> None:
        """Run the server with ``lock`` inherited; returns when it has gone to the background, not yet ready."""
        binary = find_binary()
        self._own_socket_directory()
        (self.directory / _STOPPED).unlink(missing_ok=True)
        config = self.directory / "redis.conf"
        private_files.write(self.directory, config.name, os.fsencode(self._configuration()))
        with os.fdopen(private_files.open_file(self.directory, self._log.name, _APPEND), "ab") as log:
            process = subprocess.Popen(
                [binary, config],
                stdin=subprocess.DEVNULL,
                stdout=log,  # until it is in the background: complaints about its settings go here
                stderr=log,
                cwd=self.directory,
                env={
                    **os.environ,
                    "LC_ALL": "C",
                },  # newer servers exit if the locale that is asked for is not installed
                start_new_session=True,
                pass_fds=(lock,),
                umask=0o077,
            )
        try:
            status = process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise self._failure(f"did not go to the background within {_START_S:.0f} s", log_start) from None
        if status != 0:
            raise self._failure(f"exited with status {status} while starting", log_start)

    def _configuration(self) -> str:
        files = {
            "daemonize": "yes",  # so that no starter has to wait for it, and none is left with a zombie
            "dir": str(self.directory),
            "unixsocket": str(self._socket),
            "pidfile": str(self.directory / "redis.pid"),
            "logfile": str(self._log),
        }
        if (self.directory / "appendonlydir").exists():
            # Redis 6 and before would overlook this folder and start without its data; this setting stops them.
            files["appenddirname"] = "appendonlydir"
        lines = [f"{name} {_quoted(value)}" for name, value in files.items()]
        for name, value in (_DEFAULTS | self._options).items():
            lines.append(" ".join([name, *(_quoted(word) for word in shlex.split(value) or [""])]))
        return "\n".join(lines) + "\n"

    def _probe(self) -> Literal["ready", "loading", "silent", "none"]:
        """How the server replies to PING; ``silent``: it takes the connection, and does not reply."""
        socket = self._socket
        if not socket.exists():
            return "none"
        if socket.parent != self.directory:
            _require_private(socket.parent)
        client = connect(self.url, timeout=_PING_S)
        try:
            client.ping()
        except BusyLoadingError:
            return "loading"
        except ResponseError:
            pass  # a script or a full disk keeps it from saying PONG, but it serves
        except TimeoutError:
            return "silent"
        except (RedisError, OSError):
            return "none"
        finally:
            client.close()
        return "ready"

    def _is_ours(self, pid: int) -> bool:
        """True if ``pid`` is alive and works in our directory, as the server does: a pid may have been reused."""
        if pid <= 1:
            return False
        try:
            os.kill(pid, 0)
            return Path(f"/proc/{pid}/cwd").samefile(self.directory)
        except FileNotFoundError:
            return not Path("/proc/self").exists()  # macOS: a live process and a held lock must do
        except OSError:
            return False

    def _failure(self, what: str, log_start: int) -> EmbeddedServerError:
        """The error for a server that did not start, with what it wrote to its log since ``log_start`` (bytes)."""
        lines = private_files.read(self.directory, self._log.name)[log_start:].decode(errors="replace").splitlines()
        lines = lines[-_LOG_LINES:]
        said = "\n".join(lines) or "(nothing)"
        return EmbeddedServerError(f"the Redis server {find_binary()} {what}; {self._log} ends:\n{said}")

    def _tidy(self) -> None:
        """Remove the folder in the temporary directory, unless the next server already uses it."""
        folder = self._socket.parent
        if folder == self.directory or (lock := self._take_lock()) is None:
            return
        try:
            # only what dueq made there
            with contextlib.suppress(OSError):
                self._socket.unlink(missing_ok=True)
                folder.rmdir()
            (self.directory / "socket-path").unlink(missing_ok=True)
        finally:
            os.close(lock)


def _wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """True as soon as ``condition`` holds, False if it does not by ``deadline`` (monotonic seconds)."""
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _require_ours(directory: Path) -> None:
    owner = directory.lstat().st_uid
    if owner != os.geteuid():
        raise EmbeddedServerError(
            f"{directory} belongs to another user (uid {owner}); choose a directory of your own with DUEQ_DIR"
        )


def _require_private(directory: Path) -> None:
    """Raises EmbeddedServerError unless ``directory`` is ours and no one else's: others can write beside it."""
    _require_ours(directory)
    mode = directory.lstat().st_mode
    if not stat.S_ISDIR(mode) or stat.S_IMODE(mode) != 0o700:
        raise EmbeddedServerError(
            f"{directory} should be a private directory (mode 0700) and is not: remove it, or choose a shorter DUEQ_DIR"
        )


def _quoted(value: str) -> str:
    """``value`` as one word of redis.conf."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
