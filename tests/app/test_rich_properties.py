"""Whatever is given arrives equal in value and type, or the call is refused: over all types, also those nested."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.rich_types import same
from support.rich_values import LEAVES, UNIONS, cases

from dueq import Dueq, Task
from dueq.core.app.payload import decode_body
from dueq.core.errors import InvalidTask

anything = st.one_of(*LEAVES.values(), *UNIONS.values())


def task_of(annotation: Any) -> Task[..., Any]:
    def function(value: Any) -> Any:
        return value

    function.__annotations__ = {"value": annotation}
    return Dueq("redis://127.0.0.1:1/0").task(name="takes")(function)


def arrived(task: Task[..., Any], value: Any) -> Any:
    """What the function gets, as a worker calls it."""
    _, args, kwargs = decode_body(task.call_after(1)(value).body)
    return task.entry(*args, **kwargs)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_what_is_declared_arrives(case: tuple[Any, Any]) -> None:
    annotation, value = case
    assert same(value, arrived(task_of(annotation), value))


@settings(max_examples=400, deadline=None)
@given(cases(), anything | cases().map(lambda case: case[1]))
def test_whatever_is_given_arrives_or_is_refused(case: tuple[Any, Any], value: Any) -> None:
    task = task_of(case[0])
    with contextlib.suppress(InvalidTask):
        assert same(value, arrived(task, value))
