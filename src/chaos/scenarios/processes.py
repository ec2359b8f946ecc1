"""Processes that are killed, frozen, or killed by their tasks."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial

import psutil

from ...admin.housekeeping import dead_letters
from ...core.clock import US, now_us
from ...core.namespace import Namespace
from ...harness.host import Host, alive
from ..proxy import Proxy, Trap
from ..stage import LEASE_S, SLACK_S, Stage, p99_ms
from ..tasks import poison
from .base import LOST_OWNER, Scenario

_TAKES = (b"EVALSHA", b"EVAL", b"EXEC", b"RPOPLPUSH")
"""The commands with which dispatchers take a batch, of all strategies."""

_POISON_LOSSES = 3


def kill_workers(stage: Stage, host: Host, *, most: int | None = None) -> list[tuple[str, int]]:
    """SIGKILL a worker in the middle of its task about once a second. Returns each task, and when it was killed.

    ``most`` limits how often the same task is killed.
    """
    killed: list[tuple[str, int]] = []
    for _ in stage.every(min(1.0, stage.size.duration / 3)):
        times = Counter(task_id for task_id, _ in killed)
        spared = {task_id for task_id, count in times.items() if most is not None and count >= most}
        if found := stage.stop_in_a_task(host, spared):
            worker, task_id = found
            killed.append((task_id, stage.kill(worker, "worker")))
    return killed


def recovery_us(stage: Stage, killed: list[tuple[str, int]]) -> list[int]:
    """Microseconds from each kill to the task's next start, if there was one."""
    return [again for task_id, at_us in killed if (again := stage.book.restarted_after(task_id, at_us)) is not None]


def took_a_batch(request: bytes, reply: bytes) -> bool:
    """Whether a dispatcher's request with one of ``_TAKES`` moved any task."""
    # the replies before that of EXEC are only +OK and +QUEUED
    _, _, results = reply.partition(b"*") if b"\r\nEXEC\r\n" in request else (b"", b"", reply.removeprefix(b"*"))
    first, *lines = results.split(b"\r\n")
    if b"\r\nRPOPLPUSH\r\n" in request:
        return any(line.startswith(b"$") and line != b"$-1" for line in (first, *lines))
    if b"\r\nEXEC\r\n" in request:
        done = first not in (b"", b"-1")  # otherwise it was aborted
        if b"\r\nZINTERSTORE\r\n" in request:
            return done and lines[1] != b":0"
        return done and b"\r\nLPUSH\r\n" in request  # other transactions, such as the removal of buckets, move no task
    # the reply of dispatch has four values, then three for each task; other scripts do not reply with such a list
    return first.isdigit() and reply.startswith(b"*") and int(first) > 4


def _worker_kill(stage: Stage) -> None:
    host = stage.host()
    stage.begin_naps(longest_s=0.15)
    killed = kill_workers(stage, host)
    stage.finish()
    took = recovery_us(stage, killed)
    stage.check("workers killed in the middle of a task", "some", f"{len(killed)}, {len(took)} re-run", bool(took))
    p99 = p99_ms(took)
    stage.check("re-run after the kill, p99", "≤ 1000 ms", f"{p99} ms", p99 is not None and p99 <= 1000)
    # not only by the causes that dueq reports, but also by the kills themselves
    strange = stage.book.unaccounted(killed)
    stage.check("extra starts that follow no kill", "none", ", ".join(strange) or "none", not strange)
    stale = stage.total("dueq_duplicates_total", cause="stale_ack")
    stage.check("late acks", "0", f"{stale:.0f}", not stale)
    # a start is counted before the task writes its line: a kill in between leaves the counter ahead, never behind
    counted, extra = stage.total("dueq_duplicates_total", cause="worker_lost"), stage.book.extra_starts
    ok = extra <= counted <= extra + len(killed)
    stage.check("duplicates counted by dueq", f"{extra} to {extra + len(killed)}", f"{counted:.0f}", ok)


def _dispatcher_kill(stage: Stage) -> None:
    proxy = Proxy(stage.settings.redis_url or "", stage.directory, stage.seed)
    try:
        host = stage.host(dispatchers=2, url=proxy.url)
        stage.begin_naps()
        at_random: list[int] = []
        with_a_batch: list[int] = []

        def spring(victim: psutil.Process) -> None:
            proxy.disarm()  # so that the other dispatchers live on
            with_a_batch.append(stage.kill(victim, "right after it took a batch, dispatcher"))

        for _ in stage.every(min(0.5, stage.size.duration / 6)):
            stage.wait_for(lambda: host.children("dispatcher"), 2.0)  # one that was killed takes a while to come back
            victims = sorted(host.children("dispatcher"), key=lambda child: child.pid)
            if victims and len(at_random) <= len(with_a_batch):
                at_random.append(stage.kill(stage.chance.choice(victims), "dispatcher"))
            else:  # traps for all, also for those started since the last turn, until one springs
                for victim in victims:
                    proxy.trap(victim.pid, Trap(_TAKES, partial(spring, victim), took_a_batch))
        stage.finish()
        kills = f"{len(at_random)} at random, {len(with_a_batch)} with a batch"
        stage.check("dispatchers killed", "some of each", kills, bool(at_random and with_a_batch))
        stage.check("tasks run twice", "0", stage.book.extra_starts, stage.book.extra_starts == 0)
        dropped = stage.total("dueq_duplicates_total", cause="dispatch")
        stage.notes.append(f"dispatched twice and dropped before they ran: {dropped:.0f}")
    finally:
        proxy.close()


def _supervisor_kill(stage: Stage) -> None:
    host = stage.host()
    stage.begin_naps()
    orphans, slowest = 0, 0.0
    for _ in stage.every(stage.size.duration / 3):
        stage.mark(f"SIGKILL supervisor {host.pid}, and a new one")
        began = time.monotonic()
        children = host.kill_supervisor()
        orphans += len(alive(children))
        slowest = max(slowest, time.monotonic() - began)
        host = stage.host()
        host.wait_ready()
        host.children()
    stage.finish()
    stage.check("orphans 2 s after", "0", orphans, orphans == 0)
    stage.notes.append(f"the last child was gone within {slowest:.2f} s")


def _host_loss(stage: Stage) -> None:
    lost, _ = stage.host(), stage.host()
    stage.begin_naps(longest_s=0.15)
    stage.until(stage.size.duration * 0.3)
    # so that at least one task is running when the host vanishes
    stage.stop_in_a_task(lost, within=stage.size.duration * 0.6)
    workers = {child.pid for child in lost.children("worker")}
    held = {task_id for pid, task_id in stage.book.running.items() if pid in workers}
    stage.mark(f"SIGKILL to all processes of {lost.name}")
    at_us = now_us()
    lost.vanish()
    stage.look()
    held |= {task_id for pid, task_id in stage.book.running.items() if pid in workers}
    stage.finish()
    took = [again / US for task_id in held if (again := stage.book.restarted_after(task_id, at_us)) is not None]
    limit = LEASE_S + SLACK_S
    stage.check("tasks that it ran", "some", f"{len(held)}, {len(took)} re-run", bool(took))
    stage.check(
        "taken over within lease + slack",
        f"≤ {limit:g} s",
        f"{max(took, default=0):.2f} s",
        max(took, default=0) <= limit,
    )
    late = max((point.late_ms for point in stage.book.points(stage.base_us)), default=0.0)
    stage.check("latest start of all", f"≤ {limit:g} s late", f"{late / 1000:.2f} s", late <= limit * 1000)


def _zombie(stage: Stage) -> None:
    # no watch over hung workers: the supervisor would kill the frozen worker before its lease is lost
    host = stage.host("--hang-timeout", 0)
    stage.begin_naps(longest_s=0.15)
    zombies = 0
    for _ in stage.every(max(0.5, stage.size.duration / 3), start=0.3):
        if (found := stage.stop_in_a_task(host)) is None:
            continue
        worker, task_id = found
        since, at_us = stage.elapsed(), now_us()
        again = stage.wait_for(lambda: stage.book.restarted_after(task_id, at_us) is not None, LEASE_S + SLACK_S)  # noqa: B023
        zombies += again
        stage.mark(f"SIGCONT worker {worker.pid}, stopped in the middle of a task", since)
        worker.resume()
    # the host must not stop before the late ack of the last worker was counted
    stage.wait_for(lambda: stage.total("dueq_duplicates_total", cause="stale_ack") >= zombies, 3.0)
    stage.finish()
    stale = stage.total("dueq_duplicates_total", cause="stale_ack")
    stage.check("workers frozen past their lease", "some", zombies, zombies > 0)
    stage.check("late acks refused and counted", str(zombies), f"{stale:.0f}", stale == zombies)


def _poison(stage: Stage) -> None:
    # a low restart limit, to show that poison does not count against it
    stage.host("--max-losses", _POISON_LOSSES, "--max-restarts", 3)
    stage.begin_naps()
    doses = [f"poison-{number}" for number in range(max(2, round(stage.size.duration / 2)))]
    for number, task_id in enumerate(doses):
        due_us = stage.base_us + round(number / len(doses) * stage.size.duration * US)
        stage.app.schedule_many([poison.call_at(due_us / US, id=task_id)(due_us)])
        stage.mark(f"{task_id} is due in {max(0.0, (due_us - now_us()) / US):.1f} s")
    space = Namespace.open(stage.settings)
    letters = stage.wait_for(lambda: len(list(dead_letters(space, None))) == len(doses), stage.size.duration + 30)
    stage.finish()
    found = {letter.record.id: letter.reason for letter in dead_letters(space, None)}
    space.close()
    stage.check(
        "dead letters", f"the {len(doses)} poisonous tasks", len(found), letters and sorted(found) == sorted(doses)
    )
    starts = [sum(entry.id == dose for entry in stage.book.apart) for dose in doses]
    stage.check("starts of each", str(_POISON_LOSSES), sorted(set(starts)), set(starts) == {_POISON_LOSSES})
    reasons = sorted(set(found.values()))
    stage.check(
        "the reason given",
        "killed its worker",
        "; ".join(reasons),
        all("killed its worker 3 times" in r for r in reasons),
    )


def _storm(stage: Stage) -> None:
    host = stage.host("--prefetch", 20, workers=2)
    stage.begin_naps(longest_s=0.0, at_once=True)
    killed = 0
    stage.until(0.0)  # the first kill comes at once, since few tasks make a short storm
    while stage.book.lost and (not killed or stage.elapsed() < stage.size.duration):  # at least one, on a busy machine
        worker = stage.any_worker(host)
        if stage.book.lost and worker:
            stage.kill(worker, "worker")
            killed += 1
        stage.until(stage.elapsed() + min(1.0, stage.size.duration / 4))
    stage.finish()
    stage.check("workers killed meanwhile", "some", killed, killed > 0)
    drained_s = (stage.book.last_finish_us() - stage.base_us) / US
    stage.check("drained", "all", f"{stage.book.finished} in {drained_s:.1f} s", not stage.book.lost)
    stage.notes.append(f"{stage.book.finished / max(drained_s, 1e-9):,.0f} tasks/s")


WORKER_KILL = Scenario(
    "worker-kill",
    "SIGKILL to random workers in the middle of a task, one a second",
    "lost 0; every duplicate has the cause worker_lost; p99 recovery ≤ 1 s",
    _worker_kill,
    frozenset({"worker_lost"}),
)
DISPATCHER_KILL = Scenario(
    "dispatcher-kill",
    "SIGKILL to dispatchers, at random and right after they took a batch",
    "lost 0, duplicates run 0",
    _dispatcher_kill,
)
SUPERVISOR_KILL = Scenario(
    "supervisor-kill",
    "SIGKILL to the supervisor, then a new one",
    "lost 0, no orphan processes",
    _supervisor_kill,
    LOST_OWNER,
)
HOST_LOSS = Scenario(
    "host-loss",
    "SIGKILL to all processes of one of two supervisors at once",
    "lost 0, taken over within lease + slack",
    _host_loss,
    LOST_OWNER,
)
ZOMBIE = Scenario(
    "zombie",
    "SIGSTOP to a worker past its lease, then SIGCONT",
    "its late ack is refused and counted as stale_ack",
    _zombie,
    LOST_OWNER,
)
POISON = Scenario(
    "poison",
    "tasks that kill their worker each time, among good ones",
    "poison is dead-lettered after 3 starts; all good ones are done",
    _poison,
)
STORM = Scenario(
    "storm",
    "very many tasks due at one instant, while workers are killed",
    "lost 0; drained; p99 reported",
    _storm,
    frozenset({"worker_lost"}),
    tasks=50_000,
)
