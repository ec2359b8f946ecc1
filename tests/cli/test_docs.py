"""docs/cli.md describes every command, option, default and exit code, and none that does not exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from dueq.cli.app import app
from dueq.cli.exits import MEANINGS
from dueq.core.config import NAMESPACE_VARIABLE, REDIS_URL_VARIABLE

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
_PARTS = (part.partition("\n") for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
SECTIONS = {title: text for title, _, text in _PARTS}
ROW = re.compile(r"^\| (`-[^|]*) \|(.*)\| ?(.*?) ?\|$", re.MULTILINE)


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from walk(inner, f"{path} {name}")
    else:
        yield path, command


COMMANDS = dict(walk(get_command(app), "dueq"))


def options(command: Any) -> dict[str, Any]:
    """The options by the names that the page gives them."""
    return {
        ", ".join(f"`{name}`" for name in parameter.opts): parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name != "help"
    }


def test_every_command_has_its_section() -> None:
    assert [title for title in SECTIONS if title.startswith("dueq ")] == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name: str) -> None:
    told = {names: (text, default) for names, text, default in ROW.findall(SECTIONS[name])}
    known = options(COMMANDS[name])
    assert told.keys() == known.keys()
    for names, parameter in known.items():
        text, default = told[names]
        assert text.strip()
        wanted = (
            "" if parameter.default is None or parameter.default is False else str(parameter.default).removesuffix(".0")
        )
        assert default.strip("`") == wanted, names
        if parameter.envvar:
            assert f"`{parameter.envvar}`" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_explains_itself(name: str) -> None:
    assert len(COMMANDS[name].help) > 20
    assert all(parameter.help for parameter in COMMANDS[name].params if parameter.name != "help")


def examples() -> list[str]:
    """Every command line that the page or a help text shows."""
    shown = "\n".join(
        [*re.findall(r"^```sh$(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE), *(c.help for c in COMMANDS.values())]
    )
    return sorted({line.strip() for line in shown.splitlines() if re.match(r"(  )?dueq [a-z]", line)})


@pytest.mark.parametrize("line", examples())
def test_every_example_can_be_parsed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("jobs.swf.gz", "mine.csv", "calls.jsonl"):
        (tmp_path / name).touch()
    words = shlex.split(line.partition(" | ")[0].partition("   ")[0])
    depth = 3 if " ".join(words[:3]) in COMMANDS else 2
    COMMANDS[" ".join(words[:depth])].make_context("dueq", words[depth:])


def test_exit_codes_and_variables() -> None:
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in PAGE
    for variable in (REDIS_URL_VARIABLE, NAMESPACE_VARIABLE):
        assert f"`{variable}`" in SECTIONS["Shared options"]
    for parameter in get_command(app).params:
        assert f"{parameter.opts[0]}`" in PAGE
