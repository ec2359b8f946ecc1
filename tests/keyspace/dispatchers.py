"""Real dispatchers in threads, and their counters."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterable

from support.waiting import wait_until
from support.world import World

from dueq.core.client.keyspace_events import flags, missing
from dueq.core.dispatcher.dispatcher import Dispatcher
from dueq.core.process.stop import Stop
from dueq.core.store.strategy import Moved
from dueq.core.telemetry.counters import Counters
from dueq.core.telemetry.recorder import DispatcherTelemetry


class Recorder(DispatcherTelemetry):
    """Counts as always, and keeps what was late by how much, in seconds."""

    def __init__(self) -> None:
        super().__init__(Counters(), "dispatcher", "keyspace")
        self.late: list[float] = []

    def moved(self, moved: Iterable[Moved], now_us: int) -> None:
        moved = list(moved)
        super().moved(moved, now_us)
        self.late += [one.seconds for one in moved]


class Dispatchers:
    """``count`` dispatchers of one namespace, all asleep and listening once it is entered."""

    def __init__(self, world: World, count: int = 1) -> None:
        self._world = world
        self._recorders = [Recorder() for _ in range(count)]
        self._stops = [Stop() for _ in range(count)]
        self._threads = [
            threading.Thread(target=Dispatcher(world.actor(), recorder, stop=stop).run, daemon=True)
            for recorder, stop in zip(self._recorders, self._stops, strict=True)
        ]

    def __enter__(self) -> Dispatchers:
        for thread in self._threads:
            thread.start()
        wait_until(self.listening, what="every dispatcher has subscribed, and sleeps")
        return self

    def __exit__(self, *_: object) -> None:
        for stop in self._stops:
            stop.request()
        for thread, stop in zip(self._threads, self._stops, strict=True):
            thread.join(10)
            assert not thread.is_alive()
            stop.close()

    def listening(self) -> bool:
        """Whether the flags are set, and every one has subscribed and sleeps."""
        subscribed = sum(client.get("psub") == "1" for client in self._world.redis.client_list())
        asleep = int(self._world.redis.info("clients")["blocked_clients"])
        count, lacking = len(self._threads), missing(flags(self._world.redis) or "", "Kx")
        return not lacking and subscribed >= count and asleep >= count

    @property
    def late(self) -> list[float]:
        """The lateness of every task moved, in seconds, by whichever."""
        return list(itertools.chain.from_iterable(recorder.late for recorder in self._recorders))

    @property
    def won(self) -> list[int]:
        """How many tasks each one has moved."""
        return [len(recorder.late) for recorder in self._recorders]

    @property
    def conflicts(self) -> int:
        return self._count("dueq_dispatch_conflicts_total")["keyspace"]

    @property
    def wakeups(self) -> Counter[str]:
        """``dueq_dispatch_wakeups_total`` by reason, of all together."""
        return self._count("dueq_dispatch_wakeups_total")

    def wait_for(self, tasks: int, timeout: float = 20.0) -> None:
        """Until so many tasks have been moved."""
        wait_until(lambda: len(self.late) >= tasks, timeout, what=f"{tasks} tasks are moved")

    def _count(self, metric: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for recorder in self._recorders:
            for definition, labels, values in recorder.counters.series():
                if definition.name == metric:
                    found[labels[-1]] += int(values[0])
        return found
