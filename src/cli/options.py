"""Options that several commands share, and ``opened``, which opens the namespace that they name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ..core.client.failures import explained
from ..core.config import NAMESPACE_VARIABLE, REDIS_URL_VARIABLE, from_environment
from ..core.namespace import Namespace

REDIS_TIMEOUT_S = 5.0
"""How long a command of the terminal waits for each reply of Redis. The first missing reply ends the command."""

_WHERE = "Where"

RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar=REDIS_URL_VARIABLE,
        metavar="URL",
        show_default=False,
        rich_help_panel=_WHERE,
        help="redis://, rediss:// or unix:// address; by default the server that dueq starts by itself. "
        f"If it holds a password, prefer the variable {REDIS_URL_VARIABLE}: other users can see arguments for a "
        "moment, and the shell's history keeps them.",
    ),
]
NamespaceName = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        envvar=NAMESPACE_VARIABLE,
        metavar="NAME",
        show_default=False,
        rich_help_panel=_WHERE,
        help="Name of a set of tasks on that server; 'default' if not given.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
StrategyName = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        metavar="NAME",
        show_default=False,
        help="How due tasks are found (dueq doctor lists them); by default the one that owns the namespace.",
    ),
]
OneQueue = Annotated[
    str | None,
    typer.Option("--queue", metavar="NAME", show_default=False, help="Only this queue; by default every queue."),
]
TaskIds = Annotated[
    list[str],
    typer.Argument(
        metavar="ID", help="Ids of tasks, as printed by dueq schedule; put -- before an id that begins with -."
    ),
]
SomeTaskIds = Annotated[
    list[str] | None, typer.Argument(metavar="ID", show_default=False, help="Ids of dead letters (dueq dead list).")
]
All = Annotated[bool, typer.Option("--all", help="All dead letters (of --queue, if given) instead of named ones.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        envvar="DUEQ_DIR",
        show_default=False,
        help="Directory of the server's data; by default dueq in $XDG_DATA_HOME or ~/.local/share.",
    ),
]


def given(context: typer.Context, name: str) -> str | None:
    """The value of an option if it was given as a flag, None if it comes from the environment or nowhere.

    An app's own address outranks the environment in producers, so it must do so in the workers that serve them.
    """
    source = context.get_parameter_source(name)
    return context.params[name] if source is not None and source.name == "COMMANDLINE" else None


@contextmanager
def opened(
    redis_url: str | None, namespace: str | None, strategy: str | None = None, *, writes: bool = True
) -> Iterator[Namespace]:
    """The namespace that the flags name; inside, Redis's errors become dueq's. ``writes``: see ``explained``."""
    settings = from_environment(redis_url, namespace, strategy)
    space = Namespace.open(settings, timeout=REDIS_TIMEOUT_S, silence=REDIS_TIMEOUT_S)
    try:
        with explained(space.settings.redis_url or "", writes=writes):
            yield space
    finally:
        space.close()
