"""Puts every application object of a user's code on the Redis of a chaos run, whatever address the code names."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from ..core.app.application import Dueq


@contextlib.contextmanager
def redirected(redis_url: str) -> Iterator[None]:
    """Inside, each ``Dueq`` that is made uses ``redis_url``, from its first moment on.

    Its namespace stays as the code says, so that applications that were apart still are.
    """
    original = Dueq.__init__

    @functools.wraps(original)
    def init(self: Dueq, _: str | None = None, **rest: Any) -> None:
        rest.pop("redis_url", None)
        original(self, redis_url, **rest)

    Dueq.__init__ = init  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Dueq.__init__ = original  # type: ignore[method-assign]
