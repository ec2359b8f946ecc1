"""A Redis user with the permissions of ``dueq doctor --acl``, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dueq import strategies
from dueq.core.client.connection import connect
from dueq.core.schema.keys import Keys
from dueq.core.store.acl import PASSWORD, rule

_NOT_NEEDED = {"command info", "command config|get"}
"""Commands that dueq tries and can do without: for the version, and for the flags of events."""


def limited(url: str, namespace: str, chosen: Sequence[str]) -> str:
    """The address for such a user, who may use one namespace under the strategies ``chosen``.

    ``url`` is the address of the server for a user who may make users.
    """
    words = rule(Keys(namespace), [strategies.find(name) for name in chosen]).split(" ")
    admin: Any = connect(url)
    admin.execute_command("ACL", "SETUSER", *words[1:])
    admin.connection_pool.disconnect()
    return url.replace("unix://", f"unix://{words[1]}:{PASSWORD}@")


def denied(url: str) -> list[str]:
    """What was denied to users of ``dueq doctor --acl`` since the last call, each kind once."""
    admin: Any = connect(url)
    found = [
        {str(key, "utf-8"): value for key, value in zip(entry[::2], entry[1::2], strict=True)}
        for entry in admin.execute_command("ACL", "LOG", "128")
    ]
    admin.execute_command("ACL", "LOG", "RESET")
    admin.connection_pool.disconnect()
    ours = [entry for entry in found if entry["username"].startswith(b"dueq-")]
    return sorted({f"{entry['reason'].decode()} {entry['object'].decode()}" for entry in ours} - _NOT_NEEDED)
