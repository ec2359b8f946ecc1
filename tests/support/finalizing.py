"""Code that runs where Python ignores what is raised."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Generator


class _Thing:
    pass


def in_del(act: Callable[[], object]) -> None:
    class Dying:
        def __del__(self) -> None:
            act()

    Dying()


def in_weakref_callback(act: Callable[[], object]) -> None:
    thing = _Thing()
    reference = weakref.ref(thing, lambda _: act())
    del thing
    assert reference() is None


def in_generator_end(act: Callable[[], object]) -> None:
    def generator() -> Generator[None, None, None]:
        try:
            yield
        finally:
            act()

    next(generator())


def in_gc_callback(act: Callable[[], object]) -> None:
    here, acted = threading.get_ident(), list[bool]()

    def called(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and threading.get_ident() == here and not acted:
            acted.append(True)
            act()

    gc.callbacks.append(called)
    try:
        while not acted:  # while another thread collects, this does nothing
            gc.collect()
    finally:
        gc.callbacks.remove(called)


PLACES = (in_del, in_weakref_callback, in_generator_end, in_gc_callback)
