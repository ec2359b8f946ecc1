"""The recording rules, as the text of their file: expressions that alerts and dashboards use often, or over days."""

from __future__ import annotations

from .objective import OBJECTIVE, ON_TIME, ON_TIME_BUCKETS, WINDOWS

_HEAD = f"""\
# Made by 'make dashboards' from grafana/boards: change it there.
#
# How many times faster than allowed each queue burns its error budget, over several windows. The objective:
# {OBJECTIVE:.1%} of starts at most {ON_TIME} s late; under the strategy buckets, which may be a second late by its
# nature, at most {ON_TIME_BUCKETS} s.
groups:
  - name: dueq-lateness
    rules:
"""

_STARTS = 'dueq_task_lateness_seconds_{part}{{stage="started"{more}}}[{window}]'
_BY_QUEUE = "sum by (namespace, strategy, queue)"
_BURN = """\
      - record: namespace_strategy_queue:dueq_lateness_burn:rate{window}
        expr: |
          (
            1 - {by_queue} (
              rate({on_time})
              or rate({on_time_buckets})
            )
            / ({by_queue} (rate({starts})) > 0)
          ) / {budget}
          or {by_queue} (rate({starts})) * 0
"""

_FAULTS = """\
  # Faults that may lead to duplicates: processes that died or hung, scrapes that found Redis away, supervisors that
  # restarted or ended. 0 means that there was no such fault.
  - name: dueq-faults
    rules:
      - record: namespace:dueq_faults:count20m
        expr: |
          sum by (namespace) (
            label_replace(increase(dueq_process_restarts_total{cause!="recycled"}[20m]), "fault", "restart", "", "")
            or label_replace(
              count_over_time(dueq_redis_up[20m]) - sum_over_time(dueq_redis_up[20m]), "fault", "redis", "", ""
            )
            or label_replace(resets(dueq_redis_commands_total{role="supervisor"}[20m]), "fault", "supervisor", "", "")
            or label_replace(count_over_time(dueq_redis_up[20m]) unless dueq_redis_up, "fault", "gone", "", "")
          )
"""


def recording() -> str:
    """The file of recording rules."""
    return _HEAD + "".join(map(_burn, WINDOWS)) + _FAULTS


def _burn(window: str) -> str:
    def starts(part: str, more: str = "") -> str:
        return _STARTS.format(part=part, more=more, window=window)

    return _BURN.format(
        window=window,
        by_queue=_BY_QUEUE,
        on_time=starts("bucket", f', strategy!="buckets", le="{ON_TIME}"'),
        on_time_buckets=starts("bucket", f', strategy="buckets", le="{ON_TIME_BUCKETS}"'),
        starts=starts("count"),
        budget=f"{1 - OBJECTIVE:.6g}",
    )
