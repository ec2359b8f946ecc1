"""The command line put together, and the one place where errors become messages and exit codes.

Only the module of the command that is called is imported: importing all of them takes longer than most commands run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..core.client.redaction import redact
from ..core.client.safe_text import harmless
from .exits import Exit, complaint, epilog, exit_code, is_expected
from .output import complain, say

_RUN, _TASKS, _LOOK = "Run", "Tasks", "Server and namespace"
_PLACES = {
    "run": ("run", _RUN),
    "demo": ("replay", _RUN),
    "replay": ("replay", _RUN),
    "chaos": ("chaos", _RUN),
    "bench": ("bench", _RUN),
    "schedule": ("schedule", _TASKS),
    "show": ("tasks", _TASKS),
    "explain": ("explain", _TASKS),
    "cancel": ("tasks", _TASKS),
    "dead": ("dead", _TASKS),
    "status": ("status", _LOOK),
    "doctor": ("doctor", _LOOK),
    "quarantine": ("quarantine", _LOOK),
    "migrate": ("migrate", _LOOK),
    "purge": ("purge", _LOOK),
    "redis": ("embedded", _LOOK),
}
"""The module and the help heading of each command.

The module has a function of the command's name or, for a group of commands, a Typer app named ``commands``.
"""


class Commands(TyperGroup):
    """The top of the command line: an error of a command becomes one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(Exit.INTERRUPTED) from None
        except Exception as error:
            if is_expected(error):
                complain(complaint(error))
                raise typer.Exit(exit_code(error)) from None
            # A usage error quotes the argument that it rejects, which may be an address with a password.
            if isinstance(message := getattr(error, "message", None), str):
                error.message = harmless(redact(message))  # type: ignore[attr-defined]
            raise


def wanted(arguments: Sequence[str]) -> Iterable[str]:
    """The commands to build for ``arguments``: the one that is named, or all for help and for mistakes."""
    if arguments[:1] == ["--version"]:
        return ()
    return arguments[:1] if arguments and arguments[0] in _PLACES else _PLACES


def built(names: Iterable[str] = _PLACES) -> typer.Typer:
    """The command line with these commands."""
    made = typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        rich_markup_mode="rich",
        # a traceback is for bugs only, and must not show local variables: one of them may hold a password
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=epilog(),
    )
    made.callback()(dueq)
    for name in names:
        module, heading = _PLACES[name]
        place = import_module(f".{module}", __package__)
        if hasattr(place, "commands"):
            made.add_typer(place.commands, name=name, rich_help_panel=heading)
        else:
            made.command(rich_help_panel=heading)(getattr(place, name))
    return made


def _version(wanted: bool) -> None:
    if wanted:
        say(f"dueq {__version__}")
        raise typer.Exit


def dueq(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Delayed tasks on Redis: on time, never lost, never silently run twice.

    Without an address, dueq starts a Redis server of its own when it first
    needs one.

    \b
    First steps:
      dueq doctor                              can dueq run on this server?
      dueq run shop:app                        run the tasks of "app" in shop.py
      dueq schedule '{"user": 42}' --in 10m    call its handler in 10 minutes
      dueq status --watch                      watch the queues
    """
