"""How a child process is started: a fresh interpreter, by multiprocess's protocol, with two differences.

First, there is no resource tracker. dueq shares nothing that a tracker would clean up. And from Python 3.12 on a
program waits at its end for its tracker, which lives as long as anything has the pipe to it: a process that a task has
left behind would hold up the end of ``dueq run``.

Second, what the child writes to stderr before its main function goes into its ``FirstWords``.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from multiprocess import context, popen_spawn_posix, process, reduction, spawn, util

from .first_words import FirstWords


class _Started(popen_spawn_posix.Popen):  # type: ignore[misc]
    """The running program of one ``Spawned``, as multiprocess knows it."""

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        self.returncode = self._program.poll() if flag else self._program.wait()
        return self.returncode

    def _launch(self, child: Spawned) -> None:
        order = self._pickled(child)
        with ExitStack() as ours, ExitStack() as theirs:
            self.sentinel, writes = _pipe(ours, theirs)  # nothing is written to it: it ends when the child does
            reads, order_fd = _pipe(theirs, ours)
            self._program = subprocess.Popen(
                spawn.get_command_line(pipe_handle=reads),
                executable=spawn.get_executable(),
                pass_fds=(*self._fds, reads, writes),
                stderr=child.first_words.fileno(),
                restore_signals=False,
            )
            self.pid = self._program.pid
            theirs.close()
            with suppress(BrokenPipeError), open(order_fd, "wb", closefd=False) as pipe:  # it is dead: seen later
                pipe.write(order)
            self.finalizer = util.Finalize(self, ours.pop_all().close)

    def _pickled(self, child: Spawned) -> memoryview:
        words = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(child.name), words)
            reduction.dump(child, words)
        finally:
            context.set_spawning_popen(None)
        return words.getbuffer()


class Spawned(process.BaseProcess):  # type: ignore[misc]
    """A child process that calls ``target(*args)``. What comes before that call goes into ``first_words``."""

    _start_method = "spawn"
    _Popen = staticmethod(_Started)

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], name: str, first_words: FirstWords) -> None:
        super().__init__(target=target, args=args, name=name, daemon=False)
        self.first_words = first_words

    @staticmethod
    def _after_fork() -> None:
        """What ``BaseProcess`` asks of each way to start a process: this one has no locks to renew."""


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed with these stacks."""
    ends = os.pipe()
    reading.callback(os.close, ends[0])
    writing.callback(os.close, ends[1])
    return ends
