"""The example for Alertmanager: one outage makes one notification, which names the cause."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from .committed import HOME, alerts

_CONFIGURATION: dict[str, Any] = yaml.safe_load((HOME / "prometheus" / "alertmanager.yml").read_text())
_MATCHER = re.compile(r'alertname (=~?) "(.+)"')


def named(matchers: list[str]) -> set[str]:
    """The alerts that a rule's matchers mean."""
    [matcher] = matchers
    found = _MATCHER.fullmatch(matcher)
    assert found is not None, matcher
    pattern = found[2] if found[1] == "=~" else re.escape(found[2])
    return {name for name in alerts() if re.fullmatch(pattern, name)}


def told(firing: set[str]) -> set[str]:
    """Those of ``firing``, all of one queue, that people hear of."""
    inhibited: set[str] = set()
    for rule in _CONFIGURATION["inhibit_rules"]:
        if named(rule["source_matchers"]) & firing:
            inhibited |= named(rule["target_matchers"])
    return firing - inhibited


def test_every_matcher_means_an_alert_and_no_alert_silences_itself() -> None:
    for rule in _CONFIGURATION["inhibit_rules"]:
        source, target = named(rule["source_matchers"]), named(rule["target_matchers"])
        assert source
        assert target
        assert not source & target
        assert set(rule["equal"]) <= {"namespace", "strategy", "queue"}


@pytest.mark.parametrize("cause", ["DueqRedisDown", "DueqNoDispatcher", "DueqOverdueGrows"])
def test_of_one_outage_people_hear_of_its_cause(cause: str) -> None:
    follows = {"DueqRedisDown", "DueqNoDispatcher", "DueqOverdueGrows"}
    follows = follows if cause == "DueqRedisDown" else follows - {"DueqRedisDown"}
    follows = follows - {"DueqNoDispatcher"} if cause == "DueqOverdueGrows" else follows
    burning = {name for name in alerts() if name.startswith("DueqLateness")}
    assert told(follows | burning | {cause}) == {cause}


def test_what_does_not_follow_from_it_is_told_beside_it() -> None:
    assert told({"DueqRedisDown", "DueqDeadLetters", "DueqClockSkew"}) == {
        "DueqRedisDown",
        "DueqDeadLetters",
        "DueqClockSkew",
    }


def test_an_outage_is_one_notification_however_many_queues_it_has() -> None:
    assert _CONFIGURATION["route"]["group_by"] == ["namespace"]
    assert _CONFIGURATION["route"]["receiver"] in {receiver["name"] for receiver in _CONFIGURATION["receivers"]}
