"""``dueq redis``: the server that dueq starts by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ..core.client.embedded import EmbeddedServer, default_directory
from .dead import agreed
from .exits import Exit
from .options import Directory, Json, Yes
from .output import say, say_json

commands = typer.Typer(
    no_args_is_help=True,
    help="The Redis server that dueq starts by itself. All programs that use its directory share it. It starts when "
    "first needed, and runs until dueq redis stop.",
)


@commands.command()
def start(directory: Directory = None, as_json: Json = False) -> None:
    """Start the server if it does not run, and print its address.

    \b
    Examples:
      dueq redis start
      dueq redis start --dir /var/lib/dueq
    """
    server = _server(directory)
    server.start()
    _report(server, as_json, server.url)


@commands.command()
def stop(directory: Directory = None, yes: Yes = False, as_json: Json = False) -> None:
    """Stop the server; its data stays on disk. It is no error if it does not run.

    If programs are connected to it, dueq asks for confirmation on a terminal,
    and needs --yes elsewhere: those programs wait until the server runs again.
    """
    server = _server(directory)
    if server.lives() and (others := server.connections()):
        question = f"{others} connections to the Redis server in {server.directory} are open (dueq run, producers)"
        agreed(f"{question}: stop it anyway?", yes, because=question)
    stopped = server.stop()
    if as_json:
        say_json({"directory": str(server.directory), "stopped": stopped})
    else:
        say("stopped" if stopped else "was not running")


@commands.command()
def url(directory: Directory = None, as_json: Json = False) -> None:
    """Print the server's address, whether it runs or not.

    \b
    Examples:
      redis-cli -u "$(dueq redis url)"
    """
    server = _server(directory)
    _report(server, as_json, server.url)


@commands.command()
def status(directory: Directory = None, as_json: Json = False) -> None:
    """Say whether the server runs; the exit code is 1 if not."""
    server = _server(directory)
    running = server.running()
    _report(server, as_json, f"running, pid {server.pid() or 'unknown'}, {server.url}" if running else "not running")
    if not running:
        raise typer.Exit(Exit.NO)


def _server(directory: Path | None) -> EmbeddedServer:
    return EmbeddedServer(directory.expanduser() if directory else default_directory())


def _report(server: EmbeddedServer, as_json: bool, text: str) -> None:
    if not as_json:
        say(text)
        return
    facts: dict[str, Any] = {"url": server.url, "directory": str(server.directory)}
    say_json(facts | {"running": server.running(), "pid": server.pid()})
