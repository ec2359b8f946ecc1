"""A user of Redis who may do what ``dueq doctor --acl`` says, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dueq import strategies
from dueq.core.client.connection import connect
from dueq.core.schema.keys import Keys
from dueq.core.store.acl import PASSWORD, rule

_NOT_NEEDED = {"command info", "command config|get"}
"""What is asked for, and done without where it is refused: the version, and the flags of events."""


def limited(url: str, namespace: str, chosen: Sequence[str]) -> str:
    """The address of such a user, for one namespace and the strategies ``chosen``, on the server at ``url``, which is
    that of somebody who may make users."""
    words = rule(Keys(namespace), [strategies.find(name) for name in chosen]).split(" ")
    admin: Any = connect(url)
    admin.execute_command("ACL", "SETUSER", *words[1:])
    admin.connection_pool.disconnect()
    return url.replace("unix://", f"unix://{words[1]}:{PASSWORD}@")


def denied(url: str) -> list[str]:
    """What users of ``dueq doctor --acl`` needed and were not allowed since the last time, one of a kind."""
    admin: Any = connect(url)
    found = [
        {str(key, "utf-8"): value for key, value in zip(entry[::2], entry[1::2], strict=True)}
        for entry in admin.execute_command("ACL", "LOG", "128")
    ]
    admin.execute_command("ACL", "LOG", "RESET")
    admin.connection_pool.disconnect()
    ours = [entry for entry in found if entry["username"].startswith(b"dueq-")]
    return sorted({f"{entry['reason'].decode()} {entry['object'].decode()}" for entry in ours} - _NOT_NEEDED)
