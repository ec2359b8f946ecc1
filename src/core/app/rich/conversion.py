"""The arguments of one task: written as JSON by its producer, read by its worker, and compared at the call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import InvalidTask, WrongArguments
from ..arguments import described
from ..invocation import made_for
from .annotations import Declared
from .difference import Difference, difference
from .reading import Read, Readers
from .shapes import shown
from .unfit import Unfit, inside
from .writing import written

Call = tuple[list[Any], dict[str, Any]]

_READERS = Readers()
_SHOWN = 60


class _Place(NamedTuple):
    """An argument of a call that needs conversion."""

    key: int | str
    """Its position, or its name."""
    label: str
    parameter: str
    read: Read


class Conversion:
    """Converts the arguments of a task's ``function`` that are declared with types that JSON does not have."""

    def __init__(self, task: str, function: Callable[..., Any], declared: Declared) -> None:
        self._task, self._function, self._declared = task, function, declared
        self._readers = {name: _reader(annotation) for name, annotation in declared.types.items()}
        parameters = declared.signature.parameters.values()
        positional = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        self._positional_count = len(positional)
        self._positional = [
            _Place(position, name, name, self._readers[name])
            for position, name in enumerate(positional)
            if name in self._readers
        ]
        self._rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "")
        self._others = next((one.name for one in parameters if one.kind is one.VAR_KEYWORD), "")
        named = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        self._named = named | (self._readers.keys() - declared.signature.parameters.keys())  # of **kwargs: Unpack[…]

    def written(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """The arguments as JSON values. Raises InvalidTask, which names the argument."""
        call = list(args), dict(kwargs)
        for place in self._places(args, kwargs):
            values: Any = call[isinstance(place.key, str)]
            values[place.key] = self._judged(place, written, values[place.key])
        return call

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """The arguments as the function gets them, of JSON values. Raises InvalidTask, which names the argument."""
        call = list(args), dict(kwargs)
        for place in self._places(args, kwargs):
            values: Any = call[isinstance(place.key, str)]
            values[place.key] = self._judged(place, place.read, values[place.key])
        return call

    def check(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], json_args: Sequence[Any], json_kwargs: Mapping[str, Any]
    ) -> None:
        """Raises InvalidTask unless reading the JSON values gives these arguments, in value and type."""
        for place in self._places(args, kwargs):
            given: Any = kwargs if isinstance(place.key, str) else args
            values: Any = json_kwargs if isinstance(place.key, str) else json_args
            self._judged(place, _check, given[place.key], place.read, values[place.key])

    def call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function with what JSON values become. Raises WrongArguments if they do not fit."""
        try:
            read_args, read_kwargs = self.read(args, kwargs)
        except InvalidTask as error:
            raise WrongArguments(f"{made_for(self._task, self._function, args, kwargs)}: {error}") from error.__cause__
        return self._function(*read_args, **read_kwargs)

    def _places(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[_Place]:
        if self._declared.is_wrapped and not self._fit(args, kwargs):
            return
        for place in self._positional:
            if place.key < len(args):  # type: ignore[operator]  # these are positions
                yield place
        if (read := self._readers.get(self._rest)) is not None:
            for position in range(self._positional_count, len(args)):
                yield _Place(position, f"{self._rest}[{position - self._positional_count}]", self._rest, read)
        for name in kwargs:
            parameter = name if name in self._named else self._others
            if (read := self._readers.get(parameter)) is not None:
                yield _Place(name, name, parameter, read)

    def _fit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether the annotations are about this call: a decorator may add arguments of its own."""
        try:
            self._declared.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True

    def _judged(self, place: _Place, function: Callable[..., Any], *values: Any) -> Any:
        """What ``function`` makes of ``values``. Whatever it raises becomes InvalidTask, which names the argument."""
        try:
            return function(*values)
        except Exception as error:  # noqa: BLE001  # the application's classes may raise anything
            found, declared = inside("", error), shown(self._declared.types[place.parameter])
            raise InvalidTask(
                f"{place.label}{found.path} {found.reason} ({place.label} is declared as {declared}; the task is "
                f"{self._task})"
            ) from found.cause


def _reader(annotation: Any) -> Read:
    """Reads values of ``annotation``; if it cannot be used, says so once it is needed."""
    try:
        return _READERS.of(annotation)
    except Exception as error:  # noqa: BLE001  # annotations are code of the application
        reason = (
            f"has a type that dueq cannot use ({type(error).__name__}: {error}): what its annotations name must be "
            f"known in its module when the program runs, so not only under TYPE_CHECKING"
        )

        def refuse(value: Any) -> Any:
            raise Unfit(reason)

        return refuse


def _check(given: Any, read: Read, value: Any) -> None:
    """Raises Unfit, or another exception, unless reading the JSON ``value`` gives what was ``given``."""
    try:
        arrived = read(value)
    except Unfit as error:
        if error.path:
            raise
        raise Unfit(f"is {described(given)}, which {error.reason}", cause=error.cause) from None
    if (found := difference(given, arrived)) is not None:
        raise Unfit(_told(found), found.path)


def _told(found: Difference) -> str:
    if type(found.given) is not type(found.arrived):
        return f"is {described(found.given)}, but would arrive as {described(found.arrived)}"
    return f"is {found.given!r:.{_SHOWN}}, but would arrive as {found.arrived!r:.{_SHOWN}}"
