"""The place of a suite: a Redis of its own, or a namespace on the user's Redis; and a real ``dueq run`` there."""

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
from ..core.config import STATE_DIR_VARIABLE
from ..core.namespace import Namespace
from ..core.store.requirements import check
from ..harness.clocks import clock_offset_us
from ..harness.host import Host
from ..harness.sandbox import namespace, temporary_directory, undisturbed
from .floors import Floors
from .sizes import Sizes
from .tasks import QUEUE, TARGET

PURPOSE = "bench"
"""The beginning of the name of every namespace that the bench makes, and purges, on the user's Redis."""

Progress = Callable[[str, int, int], None]
"""The progress callback: the name of the current step, how much of it is done, and of how much."""


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
        # where the namespace goes by this host's clock, the server may lack TIME
        self.offset_us = clock_offset_us(space.client) if space.clock.of_server else 0
        """What to add to this host's clock to get the clock that due times go by."""
        self._engines = 0
        self._state = {STATE_DIR_VARIABLE: str(directory / "locks")}  # the same for all engines, as on one host

    def now_us(self) -> int:
        """The time by the clock that due times go by."""
        return now_us() + self.offset_us

    def full_second_in(self, seconds: float) -> int:
        """The first full second (microseconds) at least ``seconds`` away: an instant that no strategy rounds."""
        return -(-(self.now_us() + round(seconds * US)) // US) * US

    def ready(self) -> int:
        """How many tasks wait for a worker."""
        return self.space.store.depth(QUEUE).ready

    @contextlib.contextmanager
    def engine(
        self, *flags: str | int | float, workers: int = 2, dispatchers: int = 1, target: str = TARGET
    ) -> Iterator[Host]:
        """A real ``dueq run`` that is ready, with these flags and otherwise the defaults.

        Its metrics page is read before it is stopped. Raises BootFailure.
        """
        name = f"engine{self._engines}"
        self._engines += 1
        counts = ("--strategy", self.strategy, "--workers", workers, "--dispatchers", dispatchers)
        with undisturbed():
            host = Host(
                self.space.settings, self.directory, name, *counts, *flags, target=target, environment=self._state
            )
        try:
            host.wait_ready()
            yield host
            host.read_page()
        finally:
            host.exit_status = host.stop()

    def info(self) -> dict[str, Any]:
        """The reply to INFO."""
        info: Any = self.client.info()  # Redis 2.4 knows no sections
        return dict(info)


@contextlib.contextmanager
def place(redis_url: str | None, strategy: str, sizes: Sizes, progress: Progress) -> Iterator[Place]:
    """A place on a server started for it alone, or on the one at ``redis_url``, where it is purged at the end.

    Raises StrategyUnavailable if the strategy cannot run on the server; ServerUnavailable, ServerRefused,
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
