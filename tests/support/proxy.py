"""A proxy between dueq and a server, which makes the server show another version, or reply late."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit


@contextmanager
def disguised(url: str, directory: Path, real: str, shown: str, *, seconds: float = 0.0) -> Iterator[str]:
    """Yield an address of the server at ``url`` where it shows the version ``shown`` instead of ``real``.

    Its replies come ``seconds`` late. Both versions must be of the same length, so that the reply to INFO, which has
    the version, keeps its length.
    """
    assert len(real) == len(shown)
    path = directory / "p"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(128)
        replacing = f"redis_version:{real}\r".encode(), f"redis_version:{shown}\r".encode()
        server = unquote(urlsplit(url).path)
        threading.Thread(target=_serve, args=(listener, server, replacing, seconds), daemon=True).start()
        yield f"unix://{quote(str(path))}?db=0"
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, server: str, replacing: tuple[bytes, bytes], seconds: float) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the end
            return
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(server)
        threading.Thread(target=_pump, args=(client, upstream, (b"", b""), 0.0), daemon=True).start()
        threading.Thread(target=_pump, args=(upstream, client, replacing, seconds), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, replacing: tuple[bytes, bytes], seconds: float) -> None:
    """Pass on the data of ``source`` until either side closes the connection."""
    old, new = replacing
    try:
        while data := source.recv(1 << 20):
            time.sleep(seconds)
            sink.sendall(data.replace(old, new) if old else data)
    except OSError:  # the other side closed, which is passed on
        pass
    finally:
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is closed already
                continue
