"""Pieces of PromQL. Each query minds the variables $namespace, $strategy and $queue.

Counters are each supervisor's own and are added up. What Redis alone knows (gauges, and what producers did) is the
same on every supervisor of a namespace, so there ``once`` takes it from one of them.
"""

from __future__ import annotations

NAMESPACE = 'namespace=~"$namespace"'
CHOSEN = f'{NAMESPACE},strategy=~"$strategy",queue=~"$queue"'

STEP = "$__rate_interval"
"""The window of a point in a graph: Grafana sees to it that it holds at least four scrapes."""
WHOLE = "$__range"
"""The window that the dashboard shows, for totals."""

LATENESS = "dueq_task_lateness_seconds"
STARTED = 'stage="started"'


def tasks(metric: str, *matchers: str) -> str:
    """The chosen series of a ``metric`` that knows the strategy and the queue."""
    return f"{metric}{{{','.join((CHOSEN, *matchers))}}}"


def once(metric: str, window: str = "", *matchers: str) -> str:
    """A metric that every supervisor of a namespace shows alike, or its rate over ``window``, from one of them.

    The highest: one that has not heard of the latest yet shows less, none shows more.
    """
    series = f"rate({tasks(metric, *matchers)}[{window}])" if window else tasks(metric, *matchers)
    keep = "namespace, strategy, queue" + (", state" if metric == "dueq_tasks" else "")
    return f"max by ({keep}) ({series})"


def of_supervisors(metric: str, *matchers: str, over: str = "", window: str = "") -> str:
    """Series that know neither strategy nor queue, of the supervisors that work on what is chosen.

    ``over`` is a function of a ``window``. Every supervisor shows deliveries of each of its queues, at 0 if need be.
    """
    series = f"{metric}{{{','.join((NAMESPACE, *matchers))}}}"
    chosen = tasks("dueq_deliveries_total")
    if over:
        series = f"{over}({series}[{window}])"
        # one that went away within the window still counts
        chosen = f"last_over_time({chosen}[{window}])"
    return f"{series} and on (namespace, instance) {chosen}"


def by_strategy(metric: str, window: str, *matchers: str) -> str:
    """The rate, by strategy, of a counter that does not know it. A supervisor has one strategy."""
    series = f"{metric}{{{','.join((NAMESPACE, *matchers))}}}"
    known = f"group by (namespace, instance, strategy) ({tasks('dueq_deliveries_total')})"
    counted = f"sum by (namespace, instance) (rate({series}[{window}]))"
    return f"sum by (strategy) ({counted} * on (namespace, instance) group_left (strategy) {known})"


def quantile(share: float, rates: str, by: str = "") -> str:
    """A quantile of a histogram, from the ``rates`` of its buckets, for each value of the labels ``by``.

    Nothing, rather than not-a-number, where nothing was observed.
    """
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) ({rates})) >= 0"


def lateness(share: float, by: str = "", stage: str = "started") -> str:
    """A quantile of lateness, in seconds."""
    buckets = tasks(f"{LATENESS}_bucket", f'stage="{stage}"')
    return quantile(share, f"rate({buckets}[{STEP}])", by)


def per(counted: str, base: str, by: str) -> str:
    """``counted`` for each of ``base``, both by the labels ``by``; 0 where there is no base."""
    return f"sum by ({by}) ({counted}) / (sum by ({by}) ({base}) > 0) or sum by ({by}) ({counted}) * 0"
