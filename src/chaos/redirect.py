"""Makes every ``Dueq`` object of a user's code use the Redis of a chaos run, whatever address the code names."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from ..core.app.application import Dueq


@contextlib.contextmanager
def redirected(redis_url: str) -> Iterator[None]:
    """Inside, each new ``Dueq`` object uses ``redis_url``.

    Its namespace stays as the code says, so that separate applications stay separate.
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
