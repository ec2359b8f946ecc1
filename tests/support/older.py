"""Servers with fewer abilities: Redis 2.8.17 made to look like an older one, and the embedded server without scripts.

Some characters in a copy of Redis's binary are changed, so that INFO shows another version.
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace

from support.get_servers import CACHE, Missing, Server
from support.servers import all_servers
from support.since import LIKE_2_4

AGED = "like-2.4"
SCRIPTLESS = "without-scripts"
_REAL = "redis-2.8.17"

OLDER_FORMAT = (AGED, _REAL)
"""The servers on which the conformance suite has namespaces of an older dueq, whose records have the older format."""


def like_2_4() -> Server | Missing:
    """A server like Redis 2.4: it shows that version, and does not know later commands."""
    server = saying("2.4.18")
    return server if isinstance(server, Missing) else replace(server, name=AGED, options=tuple(LIKE_2_4))


def scriptless() -> Server | Missing:
    """The server that dueq embeds, with scripts forbidden as some providers do."""
    embedded = all_servers()[0]
    forbidden = tuple(f'rename-command {command} ""' for command in ("EVAL", "EVALSHA", "SCRIPT"))
    return embedded if isinstance(embedded, Missing) else replace(embedded, name=SCRIPTLESS, options=forbidden)


@functools.cache
def saying(version: str) -> Server | Missing:
    """A server that says it is Redis ``version``, which must have as many characters as the real version."""
    real = next(server for server in all_servers() if server.name == _REAL)
    true = _REAL.partition("-")[2]
    if isinstance(real, Missing) or version == true:
        return real
    binary = CACHE / f"{_REAL}-says-{version}" / real.binary.name
    if not binary.exists():
        content, word = real.binary.read_bytes(), f"\0{true}\0".encode()
        assert len(version) == len(true)
        assert content.count(word) == 1
        binary.parent.mkdir(exist_ok=True)
        fresh = binary.with_name(f"fresh.{os.getpid()}")  # several processes may do this at once
        fresh.write_bytes(content.replace(word, f"\0{version}\0".encode()))
        fresh.chmod(0o755)
        fresh.replace(binary)
    return Server(f"redis-{version}", tuple(int(part) for part in version.split(".")), binary)
