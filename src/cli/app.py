"""The command line put together, and the one place where errors become messages and exit codes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from redis.exceptions import RedisError
from typer.core import TyperGroup

from .. import __version__
from ..core.client.connection import redact
from ..core.client.safe_text import harmless
from ..core.errors import DueqError
from . import dead, embedded
from .bench import bench
from .chaos import chaos
from .doctor import doctor
from .exits import Exit, complaint, epilog, exit_code
from .explain import explain
from .migrate import migrate
from .output import complain, say
from .purge import purge
from .quarantine import quarantine
from .replay import demo, replay
from .run import run
from .schedule import schedule
from .status import status
from .tasks import cancel, show


class Commands(TyperGroup):
    """The top of the command line: what its commands raise ends in one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (DueqError, RedisError) as error:
            complain(complaint(error))
            raise typer.Exit(exit_code(error)) from None
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(Exit.INTERRUPTED) from None
        except Exception as error:
            # A usage error quotes what it does not understand, and that may be an address in the wrong place.
            if isinstance(message := getattr(error, "message", None), str):
                error.message = harmless(redact(message))  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # a traceback is for bugs only, and must not show local variables: one of them may hold a password
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog(),
)

_RUN, _TASKS, _LOOK = "Run", "Tasks", "Server and namespace"

app.command(rich_help_panel=_RUN)(run)
app.command(rich_help_panel=_RUN)(demo)
app.command(rich_help_panel=_RUN)(replay)
app.command(rich_help_panel=_RUN)(chaos)
app.command(rich_help_panel=_RUN)(bench)
app.command(rich_help_panel=_TASKS)(schedule)
app.command(rich_help_panel=_TASKS)(show)
app.command(rich_help_panel=_TASKS)(explain)
app.command(rich_help_panel=_TASKS)(cancel)
app.add_typer(dead.commands, name="dead", rich_help_panel=_TASKS)
app.command(rich_help_panel=_LOOK)(status)
app.command(rich_help_panel=_LOOK)(doctor)
app.command(rich_help_panel=_LOOK)(quarantine)
app.command(rich_help_panel=_LOOK)(migrate)
app.command(rich_help_panel=_LOOK)(purge)
app.add_typer(embedded.commands, name="redis", rich_help_panel=_LOOK)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"dueq {__version__}")
        raise typer.Exit


@app.callback()
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
      dueq schedule '{"user": 42}' --in 10m    schedule one for its handler
      dueq status --watch                      look on
    """
