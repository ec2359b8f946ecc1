"""Keys of a wrong type that a step needs only beside the tasks stop neither the step half-way nor a producer."""

from __future__ import annotations

import time

import pytest
from support.world import World

from dueq import Dueq
from dueq.core.schema.quarantine import counts
from dueq.core.store.values import Outcome

pytestmark = pytest.mark.leaves_keys


@pytest.mark.parametrize("name", ["stats", "wake", "busy", "reasons", "wakeup", "journal", "guard"])
def test_what_is_kept_beside_the_tasks_stops_no_step_half_way(world: World, name: str) -> None:
    """No repair has to come first: the very step that meets it does all that it should."""
    keys = world.keys
    family = {"wakeup": [keys.of("wakeup", "q")], "journal": keys.journals()}
    for key in family.get(name) or [keys.plain(name)]:
        world.redis.delete(key)
        world.redis.set(key, "rubbish")
    world.ready("a", "b")
    claim = world.started()
    world.settle("w1", Outcome(claim, "dead", reason="why"))
    assert world.states() == {"scheduled": 0, "ready": 1, "leased": 0, "dead": 1}
    world.drain()
    assert counts(world.main.client, keys)["key"] == 0


@pytest.mark.parametrize("name", ["queues", "meta", "index", "record"])
def test_a_producer_gets_on(world: World, name: str) -> None:
    keys, second = world.keys, int(time.time()) + 3601
    app = Dueq(world.settings.redis_url, namespace=world.settings.namespace, strategy=world.settings.strategy)

    @app.task(queue="q")
    def note(id: str) -> None:
        raise AssertionError("never run here")

    note.after(3600, id="first")("first")
    buckets = [keys.of("bucket", f"q:{second + at}") for at in range(-2, 5)]
    index = buckets if world.strategy.name == "buckets" else [keys.timer(world.strategy.name, "q")]
    for key in {"index": index, "record": [keys.record("t")]}.get(name) or [keys.plain(name)]:
        world.redis.delete(key)
        world.redis.set(key, "rubbish")
    handle = note.after(3600, id="t")("t")
    assert handle.created
    assert "t" in {id for page in world.strategy.pages("q") for id in page}
    assert world.store.cancel("t")
