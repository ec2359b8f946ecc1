"""Functions that make values of JSON values, one for each annotation, put together once.

cattrs makes the objects of dataclasses, attrs classes and TypedDicts. It asks here for every other annotation.
"""

from __future__ import annotations

import pathlib
import threading
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote
from cattrs.gen import make_dict_structure_fn, override
from cattrs.gen.typeddicts import make_dict_structure_fn as make_typed_dict_structure_fn

from ...errors import TaskTimeout
from . import members
from .foreign import pydantic_reader, struct_reader
from .shapes import (
    Kind,
    bare,
    converts,
    converts_keys,
    is_enum,
    is_named_tuple,
    is_path,
    is_pydantic,
    is_struct,
    kind_of,
    or_none,
    parts,
    shown,
)
from .texts import TEXTS, path_reader
from .unfit import Unfit, inside
from .unions import union_reader
from .writing import defaults_of, written

Read = Callable[[Any], Any]


class Readers:
    """The functions that read. Safe to use from several threads: at worst, one is put together twice."""

    def __init__(self) -> None:
        self._known: dict[Any, Read] = {}
        self._under_way = threading.local()
        self._converter = Converter(forbid_extra_keys=True)
        self._converter.register_structure_hook_func(lambda annotation: True, self._structure)
        # cattrs prefers what it has for these, and for their subclasses
        for kind in (str, bytes, int, float, pathlib.Path):
            self._converter.register_structure_hook(kind, self._structure)

    def of(self, annotation: Any) -> Read:
        """Reads values of ``annotation``. It raises Unfit, or whatever the application's classes raise.

        Raises an exception of any kind if the annotation, or one inside it, cannot be resolved.
        """
        annotation = bare(annotation)
        if not converts(annotation):
            return as_it_is
        if (known := self._known.get(annotation)) is not None:
            return known
        under_way: list[Any] = vars(self._under_way).setdefault("annotations", [])
        if annotation in under_way:  # it is inside of itself
            return lambda value: self.of(annotation)(value)
        under_way.append(annotation)
        try:
            made = self._known[annotation] = self._made(annotation)
        finally:
            under_way.remove(annotation)
        return made

    def _structure(self, value: Any, annotation: Any) -> Any:
        return self.of(annotation)(value)

    def _foreign(self, kind: Any, value: Any) -> Any:
        return self.of(kind)(value)

    def _made(self, annotation: Any) -> Read:
        base, arguments = parts(annotation)
        if base is Union:
            return self._union(annotation, arguments)
        if base is Literal:
            return _literal(arguments)
        if base in (list, tuple, set, frozenset):
            return self._list(base, arguments)
        if base is dict:
            return self._dict(*arguments)
        if base in TEXTS:
            return TEXTS[base].read
        if is_path(base):
            return path_reader(base)
        if is_enum(base):
            return _member(base)
        if is_named_tuple(base):
            return self._named_tuple(base)
        if is_pydantic(base):
            return pydantic_reader(annotation)
        if is_struct(base):
            return struct_reader(annotation, self._foreign)
        return self._class(base, annotation)

    def _union(self, annotation: Any, arguments: tuple[Any, ...]) -> Read:
        bases = [parts(bare(one))[0] for one in arguments]
        if all(map(is_struct, bases)):
            return struct_reader(annotation, self._foreign)
        if all(map(is_pydantic, bases)):
            return pydantic_reader(annotation)
        return union_reader(annotation, self.of, self._converter)

    def _list(self, base: Any, arguments: tuple[Any, ...]) -> Read:
        if base is tuple and arguments and arguments[-1] is not Ellipsis:
            return self._tuple(arguments)
        read_one = self.of(arguments[0]) if arguments else as_it_is

        def read(value: Any) -> Any:
            return base(_each(_expected(value, Kind.LIST), read_one))

        return read

    def _tuple(self, arguments: tuple[Any, ...], least: int | None = None) -> Callable[[Any], tuple[Any, ...]]:
        """Reads tuples whose members have a type each; the last ones may be missing, down to ``least``."""
        readers = [self.of(one) for one in arguments]
        least = len(readers) if least is None else least

        def read(value: Any) -> tuple[Any, ...]:
            if not least <= len(_expected(value, Kind.LIST)) <= len(readers):
                raise Unfit(f"has {len(value)} values, where {len(readers)} are declared")
            following = iter(readers)
            return tuple(_each(value, lambda one: next(following)(one)))

        return read

    def _named_tuple(self, base: Any) -> Read:
        hints, defaults = typing.get_type_hints(base), base._field_defaults
        declared = tuple(or_none(hints.get(name, Any), defaults.get(name, ...)) for name in base._fields)
        read_all = self._tuple(declared, len(declared) - len(defaults))
        return lambda value: base(*read_all(value))

    def _dict(self, key: Any, item: Any) -> Read:
        read_key, read_item = self._key(key), self.of(item)

        def read(value: Any) -> Any:
            done = {}
            for name, one in _expected(value, Kind.OBJECT).items():
                try:
                    done[read_key(name)] = read_item(one)
                except Exception as error:  # noqa: BLE001  # the application's classes may raise anything
                    raise inside(f"[{name!r:.40}]", error) from None
            if len(done) < len(value):
                raise Unfit("has two keys that are equal")
            return done

        return read

    def _key(self, annotation: Any) -> Read:
        """Reads keys, which JSON has as text."""
        annotation = bare(annotation)
        if not converts_keys(annotation):
            return as_it_is
        base, _ = parts(annotation)
        if base is int:
            return _whole_number
        if is_enum(base) and members.by_value(base):
            by_text = {str(value) if type(value) is int else value: value for value in members.all_of(base)}
            read_member = self.of(annotation)
            return lambda name: read_member(by_text.get(name, name))
        return self.of(annotation)

    def _typed_dict(self, base: Any) -> Read:
        hints = typing.get_type_hints(base, include_extras=True)
        # __required_keys__ is wrong where annotations are strings: it takes what is NotRequired for required
        optional = {name for name, one in hints.items() if _is_not_required(one)} | base.__optional_keys__
        required = [name for name, one in hints.items() if name not in optional or get_origin(one) is typing.Required]
        readers = {name: self.of(one) for name, one in typing.get_type_hints(base).items()}

        def read(value: Any) -> Any:
            done = {}
            for name, one in _expected(value, Kind.OBJECT).items():
                if name not in readers:
                    raise Unfit(f"has the field {name!r:.40}, which {shown(base)} does not have here")
                try:
                    done[name] = readers[name](one)
                except Exception as error:  # noqa: BLE001  # the application's classes may raise anything
                    raise inside(f"[{name!r:.40}]", error) from None
            for name in required:
                if name not in done:
                    raise Unfit(f"lacks the field {name!r:.40} of {shown(base)}")
            return done

        return read

    def _class(self, base: Any, annotation: Any) -> Read:
        """Reads the objects of a class of fields."""
        is_generic = bool(getattr(base, "__parameters__", ()))
        if typing.is_typeddict(base) and not is_generic:
            return self._typed_dict(base)
        if is_generic and not get_args(annotation):
            annotation = base[(Any,) * len(base.__parameters__)]
        defaults = defaults_of(base)
        hints = {
            name: override(struct_hook=self._hook(or_none(one, defaults.get(name, ...))))
            for name, one in typing.get_type_hints(base).items()
            if not _has_type_variables(one)  # cattrs knows what those stand for
        }
        make: Any = make_typed_dict_structure_fn if typing.is_typeddict(base) else make_dict_structure_fn
        structure = make(annotation, self._converter, **hints)

        def read(value: Any) -> Any:
            _expected(value, Kind.OBJECT)
            try:
                return structure(value, annotation)
            except ClassValidationError as error:
                raise _first(error, base) from None

        return read

    def _hook(self, annotation: Any) -> Callable[[Any, Any], Any]:
        read = self.of(annotation)
        return lambda value, _: read(value)


def _is_not_required(hint: Any) -> bool:
    origin = get_origin(hint)
    return _is_not_required(get_args(hint)[0]) if origin is Annotated else origin is typing.NotRequired


def _has_type_variables(hint: Any) -> bool:
    return isinstance(hint, typing.TypeVar) or bool(getattr(hint, "__parameters__", ()))


def as_it_is(value: Any) -> Any:
    """Reads what needs no conversion."""
    return value


def _expected(value: Any, kind: Kind) -> Any:
    if (found := kind_of(value)) is not kind:
        raise Unfit(f"is {found.value} in JSON, not {kind.value}")
    return value


def _each(values: Iterable[Any], read: Read) -> list[Any]:
    done: list[Any] = []
    try:
        for value in values:
            done.append(read(value))  # its length is the place of an error
    except Exception as error:  # noqa: BLE001  # the application's classes may raise anything
        raise inside(f"[{len(done)}]", error) from None
    return done


def _literal(values: tuple[Any, ...]) -> Read:
    by_json = {(type(one), one): value for value in values for one in [written(value)]}

    def read(value: Any) -> Any:
        try:
            return by_json[type(value), value]
        except (LookupError, TypeError):
            raise Unfit(f"is none of {', '.join(map(repr, values))}") from None

    return read


def _member(kind: Any) -> Read:
    def read(value: Any) -> Any:
        try:
            return members.read(kind, value)
        except (ValueError, LookupError, TypeError):
            raise Unfit(f"is no member of {shown(kind)}") from None

    return read


def _whole_number(name: str) -> int:
    number = int(name)
    if str(number) != name:
        raise Unfit(f"has the key {name!r:.40}, which is not written as a whole number is")
    return number


def _first(error: ClassValidationError, base: Any) -> Exception:
    """The first of the errors that an object met, as it looks from outside of that object."""
    for one in error.exceptions:
        if isinstance(one, TaskTimeout):
            return one
    first = error.exceptions[0]
    notes = [note for note in getattr(first, "__notes__", ()) if isinstance(note, AttributeValidationNote)]
    if isinstance(first, ForbiddenExtraKeysError):
        return Unfit(f"has the field {min(first.extra_fields)}, which {shown(base)} does not have here")
    if notes and type(first) is KeyError and first.args == (notes[0].name,):
        return Unfit(f"lacks the field {notes[0].name} of {shown(base)}")
    return inside(f".{notes[0].name}" if notes else "", first)
