"""Where a suite plays: a Redis of its own, or a namespace of its own on somebody's; and a real ``dueq run`` there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from .. import strategies
from ..core.app.application import Dueq
from ..core.client.failures import explained
from ..core.clock import US, now_us
from ..core.namespace import Namespace
from ..core.store.requirements import check
from ..harness.clocks import clock_offset_us
from ..harness.host import Host
from ..harness.sandbox import namespace, temporary_directory, undisturbed
from .floors import Floors
from .sizes import Sizes
from .tasks import QUEUE, TARGET

PURPOSE = "bench"
"""How the name of every namespace begins that is made, and purged, on a Redis that is not ours."""

Progress = Callable[[str, int, int], None]
"""The progress callback: what is going on, how much of it is done, and of how much."""


class Place:
    """A fresh namespace of one strategy, and a directory, for one suite."""

    def __init__(self, space: Namespace, directory: Path, sizes: Sizes, *, own: bool, progress: Progress) -> None:
        self.space, self.directory, self.sizes, self.own, self.progress = space, directory, sizes, own, progress
        self.strategy = space.strategy.name
        self.resolution_s = type(space.strategy).resolution
        self.client: redis.Redis = space.client
        settings = space.settings
        self.producer = Dueq(settings.redis_url, namespace=settings.namespace, strategy=self.strategy)
        self.floors = Floors(settings.redis_url or "", settings.namespace, sizes.floor_rounds, sizes.benchmark_requests)
        # a namespace that goes by this host's clock may be on a server that cannot tell the time
        self.offset_us = clock_offset_us(space.client) if space.clock.of_server else 0
        """What to add to this host's clock to get that which due times are held against."""
        self._engines = 0

    def now_us(self) -> int:
        """The clock that due times are held against."""
        return now_us() + self.offset_us

    def full_second_in(self, seconds: float) -> int:
        """The next full second (microseconds) at least so far away: an instant that no strategy rounds."""
        return -(-(self.now_us() + round(seconds * US)) // US) * US

    def ready(self) -> int:
        """How many tasks wait for a worker."""
        return self.space.store.depth(QUEUE).ready

    @contextlib.contextmanager
    def engine(
        self, *flags: str | int | float, workers: int = 2, dispatchers: int = 1, target: str = TARGET
    ) -> Iterator[Host]:
        """A real ``dueq run``, ready, with the defaults of a user who gives no flags but these.

        Its page is read before it is stopped. Raises BootFailure.
        """
        name = f"engine{self._engines}"
        self._engines += 1
        counts = ("--strategy", self.strategy, "--workers", workers, "--dispatchers", dispatchers)
        with undisturbed():
            host = Host(self.space.settings, self.directory, name, *counts, *flags, target=target)
        try:
            host.wait_ready()
            yield host
            host.read_page()
        finally:
            host.exit_status = host.stop()

    def info(self) -> dict[str, Any]:
        """What the server says of itself."""
        info: Any = self.client.info()  # without a section: Redis 2.4 knows none
        return dict(info)


@contextlib.contextmanager
def place(redis_url: str | None, strategy: str, sizes: Sizes, progress: Progress) -> Iterator[Place]:
    """A place on a server started for it alone, or on that at ``redis_url``, where it is purged at the end.

    Raises StrategyUnavailable if the server cannot carry the strategy, ServerUnavailable, ServerRefused,
    EmbeddedServerError.
    """
    strategies.find(strategy)
    with (
        temporary_directory() as directory,
        namespace(redis_url, strategy, directory, PURPOSE) as space,
        explained(space.settings.redis_url or ""),
    ):
        check(space.client, type(space.strategy), space.keys)
        yield Place(space, directory, sizes, own=redis_url is None, progress=progress)
