"""Pieces of PromQL. Each query respects the variables $namespace, $strategy and $queue.

Counters are each supervisor's own and are added up. Metrics read from Redis (gauges, and counters of producers) are the
same on every supervisor of a namespace, so ``once`` takes them from one supervisor.
"""

from __future__ import annotations

NAMESPACE = 'namespace=~"$namespace"'
CHOSEN = f'{NAMESPACE},strategy=~"$strategy",queue=~"$queue"'

STEP = "$__rate_interval"
"""The window of a point in a graph. Grafana makes it long enough for at least four scrapes."""
WHOLE = "$__range"
"""The window that the dashboard shows, for totals."""

LATENESS = "dueq_task_lateness_seconds"
STARTED = 'stage="started"'


def tasks(metric: str, *matchers: str) -> str:
    """The chosen series of a ``metric`` with the labels strategy and queue."""
    return f"{metric}{{{','.join((CHOSEN, *matchers))}}}"


def once(metric: str, window: str = "", *matchers: str) -> str:
    """A metric that is the same on every supervisor of a namespace, or its rate over ``window``, taken once.

    It takes the highest value: a supervisor that read Redis a little earlier shows less, none shows more.
    """
    series = f"rate({tasks(metric, *matchers)}[{window}])" if window else tasks(metric, *matchers)
    keep = "namespace, strategy, queue" + (", state" if metric == "dueq_tasks" else "")
    return f"max by ({keep}) ({series})"


def of_supervisors(metric: str, *matchers: str, over: str = "", window: str = "") -> str:
    """Series without the labels strategy and queue, of the supervisors that serve the chosen strategies and queues.

    ``over`` is a PromQL function of a ``window``. A supervisor serves a queue if it shows deliveries of it, even 0.
    """
    series = f"{metric}{{{','.join((NAMESPACE, *matchers))}}}"
    chosen = tasks("dueq_deliveries_total")
    if over:
        series = f"{over}({series}[{window}])"
        # a supervisor that ended within the window still counts
        chosen = f"last_over_time({chosen}[{window}])"
    return f"{series} and on (namespace, instance) {chosen}"


def by_strategy(metric: str, window: str, *matchers: str) -> str:
    """The rate, by strategy, of a counter without that label. It comes from the supervisor, which has one strategy."""
    series = f"{metric}{{{','.join((NAMESPACE, *matchers))}}}"
    known = f"group by (namespace, instance, strategy) ({tasks('dueq_deliveries_total')})"
    counted = f"sum by (namespace, instance) (rate({series}[{window}]))"
    return f"sum by (strategy) ({counted} * on (namespace, instance) group_left (strategy) {known})"


def quantile(share: float, rates: str, by: str = "") -> str:
    """A quantile of a histogram, from the ``rates`` of its buckets, for each value of the labels ``by``.

    If nothing was observed, the result is empty, and not NaN.
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
