"""Exceptions and numbers whose methods raise SystemExit in the code that uses them."""

from __future__ import annotations

from typing import Any, NoReturn


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit(f"asked for {name}")


class Nameless(Exception, metaclass=Meta):
    pass


class Sour(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__

    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit(4)


class Text(str):
    __slots__ = ()

    def encode(self, *args: Any) -> NoReturn:
        raise SystemExit(5)

    __format__ = __str__ = __len__ = encode


class Spiked(Exception):
    def __str__(self) -> str:
        return Text("spikes")


class Wordless(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]


class Odd(float):
    def __le__(self, other: object) -> NoReturn:
        raise SystemExit(6)

    __ge__ = __le__

    def __repr__(self) -> NoReturn:
        raise SystemExit(7)
