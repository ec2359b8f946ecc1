"""Dead letters: listed oldest first, revived with a clean slate, or discarded."""

from __future__ import annotations

from support.world import World

from dueq.core.store.values import Outcome


def bury(world: World, *ids: str, reason: str = "why") -> None:
    world.ready(*ids)
    for _ in ids:
        assert world.settle("w1", Outcome(world.started(), "dead", reason=reason)) == "done"


def test_listed_oldest_first_in_pages(world: World) -> None:
    before = world.now_us()
    for number in range(5):
        bury(world, f"t{number}", reason=f"reason {number} é")
    letters = world.store.dead("q", 0, 3)
    assert [letter.record.id for letter in letters] == ["t0", "t1", "t2"]
    assert [letter.reason for letter in letters] == ["reason 0 é", "reason 1 é", "reason 2 é"]
    assert before <= letters[0].died_us <= letters[1].died_us <= world.now_us()
    assert [letter.record.id for letter in world.store.dead("q", 3, 3)] == ["t3", "t4"]
    assert world.store.dead("q", 5, 3) == []
    assert world.store.dead("unknown", 0, 3) == []
    assert world.states()["dead"] == 5


def test_revived_it_runs_again_with_fresh_retries(world: World) -> None:
    world.ready("a")
    world.settle("w1", Outcome(world.started(), "retry"))
    world.dispatch_all()
    claim = world.started()
    assert claim.retries == 1
    assert world.settle("w1", Outcome(claim, "dead", reason="x")) == "done"
    assert world.store.revive(["a", "unknown", "a"]) == 1
    assert world.store.revive(["a"]) == 0
    assert world.states() == {"scheduled": 1, "ready": 0, "leased": 0, "dead": 0}
    world.dispatch_all()
    again = world.started()
    assert (again.retries, again.losses, again.starts, again.cause) == (0, 0, 3, "retry")
    assert again.token > claim.token
    assert world.settle("w1", Outcome(claim, "ack")) == "stale"


def test_discarded_it_is_forgotten(world: World) -> None:
    bury(world, "a", "b")
    assert world.store.discard(["a", "unknown"]) == 1
    assert world.store.discard(["a"]) == 0
    assert world.store.record("a") is None
    assert [letter.record.id for letter in world.store.dead("q", 0, 9)] == ["b"]


def test_only_dead_letters_are_touched(world: World) -> None:
    world.ready("ready", "leased")
    world.store.reschedule("leased", 0)
    world.schedule("scheduled", delay_us=10**9)
    assert world.store.revive(["ready", "leased", "scheduled"]) == 0
    assert world.store.discard(["ready", "leased", "scheduled"]) == 0
    assert len(world.drain()) == 2


def test_very_many(world: World) -> None:
    ids = [f"t{number}" for number in range(250)]
    bury(world, *ids)
    assert world.store.revive(ids[:150]) == 150
    assert world.store.discard(ids) == 100
    assert len(world.drain()) == 150
    assert world.leftovers() == []
