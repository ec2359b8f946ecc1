"""A task's story, made from its journal: why it was late, why it ran again, how it ended."""

from __future__ import annotations

from dueq.admin.story import Story, story, words
from dueq.core.clock import US
from dueq.core.schema.journal import Event, decode, encode
from dueq.core.schema.record import Record
from dueq.core.schema.states import State

DUE = 1_000 * US


def event(kind: str, after_s: float, token: int = 0, **facts: object) -> Event:
    return Event(DUE + round(after_s * US), kind, "a", token, "w", facts)  # type: ignore[arg-type]


def story_of(*events: Event, record: Record | None = None, reason: str = "") -> Story:
    return story("a", record, events, reason)


def started(after_s: float, token: int = 1, attempt: int = 1, **facts: object) -> Event:
    return event("started", after_s, token, attempt=attempt, due_us=DUE, **facts)


def ready(late_s: float) -> Event:
    return event("ready", late_s, late_us=round(late_s * US))


def record(state: State) -> Record:
    return Record("a", state, DUE, "q", 1, 0, 0, "", 0, 7, "w1", b"[]")


def test_an_event_survives_the_journal() -> None:
    assert decode(encode(Event(5, "done", "a"))) == Event(5, "done", "a")
    odd = Event(5, "retry", 'a|b"{c', 3, "worker.h", {"reason": 'a|b "c"\n€', "in_us": 5})
    assert decode(encode(odd)) == odd


def test_what_another_version_wrote_is_left_alone() -> None:
    for raw in (b"", b"nonsense", b"1|done|a", b"x|done|a|0|w|", b"1|done|a|0|w|{"):
        assert decode(raw) is None


def test_on_time() -> None:
    found = story_of(event("scheduled", -5, due_us=DUE), ready(0.001), started(0.002), event("done", 0.5, 1))
    assert found.findings == ["its first start was 2.0 ms after its due time", "it is done"]


def test_late_for_want_of_a_dispatcher() -> None:
    [finding] = story_of(event("scheduled", -5, due_us=DUE), ready(3.0), started(3.5)).findings
    assert finding == (
        "its first start was 3.50 s late: made ready 3.00 s after its due time, then waiting 500.0 ms for a worker "
        "(no dispatcher found it sooner)"
    )


def test_late_for_want_of_a_worker() -> None:
    [finding] = story_of(ready(0.01), started(4.0)).findings
    assert "waiting 3.99 s for a worker (no worker was free" in finding


def test_late_and_it_is_not_known_why() -> None:
    assert story_of(started(4.0)).findings == [
        "its first start was 4.00 s late; the journal no longer has when it was made ready"
    ]


def test_notes_that_were_written_late_are_put_where_they_belong() -> None:
    found = story_of(event("scheduled", -5, due_us=DUE), started(0.3), ready(0.2))
    assert [one.kind for one in found.events] == ["scheduled", "ready", "started"]
    assert "made ready 200.0 ms after its due time" in found.findings[0]


def test_run_twice() -> None:
    found = story_of(
        started(0.0),
        event("lost", 1.0, cause="worker_lost", worker="worker.h.1", how="was killed by SIGKILL"),
        started(1.1, 2, 2, cause="worker_lost"),
        event("refused", 2.0, 1),
        event("done", 3.0, 2),
    )
    assert found.findings[1:] == [
        "start 2 happened because the worker that ran it had died",
        "the result of token 1 came too late and was refused: another worker had the task by then",
        "it is done",
    ]
    assert words(found.events[1]) == "its owner was lost (worker_lost): worker.h.1 was killed by SIGKILL"


def test_what_becomes_of_it() -> None:
    assert story_of(record=record(State.DEAD), reason="too bad").findings[0] == "it is a dead letter: too bad"
    assert (
        story_of(started(0), record=record(State.LEASED)).findings[-1]
        == "it runs now, or is about to, on w1, under token 7"
    )
    assert story_of(event("cancelled", -1)).findings == ["it was cancelled"]
    assert "not known any more" in story_of(record=record(State.SCHEDULED)).findings[0]
    assert story_of().findings == []


def test_every_event_has_words() -> None:
    for kind in (
        "scheduled",
        "rescheduled",
        "cancelled",
        "ready",
        "started",
        "done",
        "retry",
        "dead",
        "refused",
        "lost",
    ):
        assert words(event(kind, 0.0))
