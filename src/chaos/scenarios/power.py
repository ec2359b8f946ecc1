"""Power cuts: Redis loses what it had written and the disk did not have yet."""

from __future__ import annotations

from ...core.clock import now_us
from ..append_only import AppendOnly, Cut
from ..stage import Stage
from .base import LOST_OWNER, Scenario
from .servers import kill_redis, next_start

_MOST_S = 1.0  # what appendfsync everysec may lose
_LATE = 3  # tasks scheduled right before each cut


def _power_cut(stage: Stage) -> None:
    stage.host()
    most_s = min(_MOST_S, stage.size.duration / 5)
    cuts: list[Cut] = []
    restarted: list[int] = []
    with AppendOnly(stage.server.directory) as file:
        stage.begin_naps()
        for _ in stage.every(stage.size.duration / 4):
            for _ in range(_LATE):
                stage.extra()
            since = stage.elapsed()
            stage.until(since + most_s / 10)
            kill_redis(stage)
            seconds = stage.chance.uniform(most_s / 4, most_s)
            cuts.append(file.cut(seconds))
            stage.start_server()
            stage.mark(f"SIGKILL Redis, the last {seconds:.2f} s of its file cut off, started again", since)
            restarted.append(now_us())
        stage.finish()
    _judge(stage, cuts, [next_start(stage, at_us) for at_us in restarted])


def _judge(stage: Stage, cuts: list[Cut], pauses: list[float | None]) -> None:
    """Compare the ledger with what was cut off, which is known to the byte."""
    writes = [cut.writes for cut in cuts]
    stage.check("writes cut off", "some each time", ", ".join(map(str, writes)), all(writes))
    unscheduled = set[str]().union(*(cut.scheduled for cut in cuts))
    touched = set[str]().union(*(cut.touched for cut in cuts))
    lost = set(stage.book.lost_ids())
    stage.check("lost, but not cut off with their scheduling", "0", len(lost - unscheduled), not lost - unscheduled)
    strange = sorted(stage.book.unexplained() - touched)
    stage.check(
        "run again without a cause, with no write of theirs cut off", "none", ", ".join(strange) or "none", not strange
    )
    slowest = max((pause for pause in pauses if pause is not None), default=None)
    ok = None not in pauses and slowest is not None and slowest <= 5.0
    stage.check("work goes on after the restart", "≤ 5 s", f"{slowest:.2f} s" if slowest is not None else "never", ok)
    again = len(stage.book.unexplained() & touched)
    stage.notes.append(
        f"cut off with their scheduling: {len(unscheduled)} tasks, of which {len(lost)} were lost; run again without a "
        f"known cause, since their claims and ends were cut off: {again} tasks"
    )


POWER_CUT = Scenario(
    "power-cut",
    "SIGKILL to Redis (AOF everysec), what it wrote in the last second or less is cut off its file, and start it again",
    "no token is given twice; only tasks whose scheduling was cut off are lost; work goes on within 5 s",
    _power_cut,
    LOST_OWNER,
    loses=True,
)
