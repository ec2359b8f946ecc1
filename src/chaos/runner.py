"""Plays scenarios, one after the other or several at once, each on a Redis of its own."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from .. import strategies
from ..core.errors import BootFailure, ConfigurationError
from ..core.process.lifetime import end_with_parent
from ..harness.sandbox import temporary_directory, terminable, undisturbed
from . import report
from .page import Run, render
from .scenarios import SCENARIOS
from .scenarios.base import Scenario
from .stage import Size, Stage

ALL = "all"
DEFAULT_DURATION_S = 10.0
_spawn = multiprocessing.get_context("spawn")
_CTRL_C = (signal.SIGINT,)
_RATE = 20.0  # tasks a second, by default


@dataclass(frozen=True, slots=True)
class Wanted:
    """One run to play."""

    scenario: str
    strategy: str
    size: Size


def wanted(scenario: str, strategy: str, tasks: int | None, duration: float, seed: int) -> list[Wanted]:
    """The runs for these names; ``all`` stands for every name. Raises ConfigurationError."""
    if scenario not in (ALL, *SCENARIOS):
        raise ConfigurationError(f"there is no scenario {scenario!r}: there are {', '.join(SCENARIOS)}, and all")
    if not 0.5 <= duration <= 3600:
        raise ConfigurationError(f"duration is {duration:g} s, but must be from 0.5 to 3600")
    if tasks is not None and tasks < 1:
        raise ConfigurationError(f"tasks is {tasks}, but must be at least 1")
    chosen = list(SCENARIOS) if scenario == ALL else [scenario]
    names = list(strategies.names()) if strategy == ALL else [strategies.find(strategy).name]
    return [
        Wanted(each, name, Size(tasks or SCENARIOS[each].tasks or round(_RATE * duration), duration, seed))
        for each in chosen
        for name in names
    ]


def play(one: Wanted) -> Run:
    """Play one scenario and judge it. All that was started is ended, also after an error or a signal."""
    scenario = SCENARIOS[one.scenario]
    with terminable(), temporary_directory() as directory:
        try:
            return _played(scenario, one, directory)
        except Exception as error:  # noqa: BLE001 - the error goes into the report of this run; the others go on
            return _failed(one, error)


def _played(scenario: Scenario, one: Wanted, directory: Path) -> Run:
    with Stage(scenario.name, one.strategy, one.size, directory, dict(scenario.options)) as stage:
        stage.measure_floor()
        scenario.play(stage)
        report.judge(scenario, stage)
        return Run(report.make(scenario, stage), stage.book.points(stage.base_us), stage.marks)


def _failed(one: Wanted, error: Exception) -> Run:
    return Run(report.failed(SCENARIOS[one.scenario], one.strategy, one.size.seed, error), [], [])


def play_all(runs: Sequence[Wanted], jobs: int = 1) -> Generator[Run, None, None]:
    """Play the runs, ``jobs`` at once, and yield each when it is over. Close it, if it is not used to its end."""
    if jobs <= 1:
        yield from map(play, runs)
        return
    waiting, playing = deque(runs), dict[Any, tuple[Wanted, BaseProcess]]()
    with terminable():
        try:
            while waiting or playing:
                while waiting and len(playing) < jobs:
                    one = waiting.popleft()
                    with undisturbed():
                        ours, process = _start(one)
                        playing[ours] = one, process
                for ours in wait(list(playing)):
                    yield _result(ours, *playing.pop(ours))
        finally:
            for _, process in playing.values():
                process.terminate()  # each ends what it has started
            for _, process in playing.values():
                process.join()


def _start(one: Wanted) -> tuple[Any, BaseProcess]:
    """Play in a process of its own: not in a thread, since processes of a run end with the thread that started them."""
    ours, theirs = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=_play_for, args=(one, theirs))
    # the new process inherits this mask, and ignores the signal before it unblocks it
    signal.pthread_sigmask(signal.SIG_BLOCK, _CTRL_C)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _CTRL_C)
    theirs.close()
    return ours, process


def _play_for(one: Wanted, reply: Any) -> None:
    # Ctrl+C reaches every process of the terminal; the parent alone handles it, and ends its children once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _CTRL_C)
    end_with_parent(signal.SIGTERM)
    reply.send(play(one))


def _result(ours: Any, one: Wanted, process: BaseProcess) -> Run:
    try:
        run: Run = ours.recv()
        return run
    except EOFError:
        process.join()
        return _failed(one, BootFailure(f"the process of the run ended with status {process.exitcode}"))
    finally:
        process.join()
        ours.close()


def write_page(directory: Path, runs: Sequence[Run]) -> Path:
    """Write the page about these runs into ``directory``, which is made if need be; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    page = directory / "index.html"
    page.write_text(render(runs), encoding="utf-8")
    return page
