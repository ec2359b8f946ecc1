"""The arguments of one task: written as JSON by its producer, read by its worker, and compared at the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import InvalidTask, WrongArguments
from ..arguments import described
from ..invocation import made_for
from .annotations import Declared
from .difference import Difference, difference
from .reading import Read, Readers, as_it_is
from .shapes import shown
from .unfit import Unfit, inside
from .writing import written

Call = tuple[list[Any], dict[str, Any]]

_READERS = Readers()
_SHOWN = 60


class Conversion:
    """Converts the arguments of a task's ``function`` that are declared with types that JSON does not have."""

    def __init__(self, task: str, function: Callable[..., Any], declared: Declared) -> None:
        self._task, self._function, self._declared = task, function, declared
        self._readers = {name: _reader(annotation) for name, annotation in declared.types.items()}
        parameters = declared.signature.parameters.values()
        self._positional = [
            one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        ]
        named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        self._named = named | (self._readers.keys() - declared.signature.parameters.keys())  # of **kwargs: Unpack[…]
        self._rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "")
        self._others = next((one.name for one in parameters if one.kind is one.VAR_KEYWORD), "")

    def written(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """The arguments as JSON values. Raises InvalidTask, which names the argument."""
        return self._converted(args, kwargs, lambda read, value: value if read is as_it_is else written(value))

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """The arguments as the function gets them, of JSON values. Raises InvalidTask, which names the argument."""
        return self._converted(args, kwargs, lambda read, value: read(value))

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any], json: Call) -> None:
        """Raises InvalidTask unless reading ``json`` gives these arguments, in value and type."""
        given = iter([*args, *kwargs.values()])
        self._converted(*json, lambda read, value: _check(next(given), read, value))

    def call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function with what JSON values become. Raises WrongArguments if they do not fit."""
        try:
            read_args, read_kwargs = self.read(args, kwargs)
        except InvalidTask as error:
            raise WrongArguments(f"{made_for(self._task, self._function, args, kwargs)}: {error}") from error.__cause__
        return self._function(*read_args, **read_kwargs)

    def _converted(self, args: Sequence[Any], kwargs: Mapping[str, Any], convert: Callable[[Read, Any], Any]) -> Call:
        if not self._applies(args, kwargs):
            return list(args), dict(kwargs)
        return (
            [self._one(*self._at(position), value, convert) for position, value in enumerate(args)],
            {name: self._one(name, self._called(name), value, convert) for name, value in kwargs.items()},
        )

    def _one(self, label: str, parameter: str, value: Any, convert: Callable[[Read, Any], Any]) -> Any:
        try:
            return convert(self._readers.get(parameter, as_it_is), value)
        except Exception as error:
            found = inside("", error)
            declared = shown(self._declared.types[parameter])
            raise InvalidTask(
                f"{label}{found.path} {found.reason} ({label} is declared as {declared}; the task is {self._task})"
            ) from error

    def _applies(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether the annotations are about this call. A decorator may add arguments of its own."""
        if not self._declared.is_wrapped:
            return True
        try:
            self._declared.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True

    def _at(self, position: int) -> tuple[str, str]:
        """What the argument at ``position`` is called, and its parameter."""
        if position < len(self._positional):
            return self._positional[position], self._positional[position]
        return f"{self._rest}[{position - len(self._positional)}]", self._rest

    def _called(self, name: str) -> str:
        """The parameter of the argument that is passed by ``name``."""
        return name if name in self._named else self._others


def _reader(annotation: Any) -> Read:
    """Reads values of ``annotation``; if it cannot be used, says so once it is needed."""
    try:
        return _READERS.of(annotation)
    except Exception as error:  # noqa: BLE001  # annotations are code of the application
        reason = (
            f"has a type that dueq cannot use ({type(error).__name__}: {error}): names in annotations must be known "
            f"when the program runs, so import them outside of TYPE_CHECKING"
        )

        def refuse(value: Any) -> Any:
            raise Unfit(reason)

        return refuse


def _check(given: Any, read: Read, value: Any) -> None:
    """Raises Unfit, or another exception, unless reading the JSON ``value`` gives what was ``given``."""
    if read is as_it_is:
        return
    try:
        arrived = read(value)
    except Unfit as error:
        if error.path:
            raise
        raise Unfit(f"is {described(given)}, which {error.reason}") from error
    if (found := difference(given, arrived)) is not None:
        raise Unfit(_told(found), found.path)


def _told(found: Difference) -> str:
    if type(found.given) is not type(found.arrived):
        return f"is {described(found.given)}, but would arrive as {described(found.arrived)}"
    return f"is {found.given!r:.{_SHOWN}}, but would arrive as {found.arrived!r:.{_SHOWN}}"
