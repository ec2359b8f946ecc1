"""When a worker may begin a held task: the states that docs/architecture.md draws, and the transitions between them."""

from __future__ import annotations

import types

import pytest

from dueq.core.worker import standing as standing_module
from dueq.core.worker.standing import Standing, Trust

LEASE = 10.0


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(standing_module, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def standing(clock: Clock) -> Standing:
    standing = Standing(LEASE)
    assert standing.trust() is Trust.WAITING, "Redis has not heard of it yet"
    standing.heard(clock.now)
    return standing


def test_trust_lasts_half_a_lease_from_when_the_step_was_sent(standing: Standing, clock: Clock) -> None:
    assert standing.trust() is Trust.TRUSTED
    clock.now += LEASE / 2
    assert standing.trust() is Trust.WAITING
    standing.heard(clock.now - 1)
    assert standing.trust() is Trust.TRUSTED
    clock.now += LEASE / 2 - 1
    assert standing.trust() is Trust.WAITING


def test_a_lost_reply_makes_unsure_whatever_is_heard(standing: Standing, clock: Clock) -> None:
    standing.doubted()
    standing.heard(clock.now)
    assert standing.trust() is Trust.UNSURE
    standing.made_sure()
    assert standing.trust() is Trust.TRUSTED, "nothing was taken from it"


def test_who_was_robbed_must_be_heard_anew(standing: Standing, clock: Clock) -> None:
    standing.robbed()
    assert standing.trust() is Trust.UNSURE
    standing.made_sure()
    assert standing.trust() is Trust.WAITING
    standing.heard(clock.now)
    assert standing.trust() is Trust.TRUSTED


def test_what_fails_half_way_leaves_it_unsure(standing: Standing) -> None:
    with standing.unsure_until_done():
        assert standing.trust() is Trust.UNSURE
    assert standing.trust() is Trust.TRUSTED
    with pytest.raises(ConnectionError):
        _fail(standing)
    assert standing.trust() is Trust.UNSURE
    with standing.unsure_until_done():
        pass
    assert standing.trust() is Trust.UNSURE, "it was so before"


def _fail(standing: Standing) -> None:
    with standing.unsure_until_done():
        raise ConnectionError


def test_a_start_of_which_redis_may_not_know_is_safe_for_a_lease(standing: Standing, clock: Clock) -> None:
    assert not standing.may_be_anothers()
    clock.now += LEASE - 0.1
    assert not standing.may_be_anothers()
    clock.now += 0.1
    assert standing.may_be_anothers()
    standing.heard(clock.now)
    standing.robbed()
    assert standing.may_be_anothers()
