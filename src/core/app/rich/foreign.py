"""Classes of pydantic and msgspec, which these libraries read and write. Neither is needed where none is declared."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from .unfit import Unfit

Convert = Callable[[Any], Any]
Read = Callable[[Any, Any], Any]
"""Makes a value of an annotation and a JSON value."""


@functools.lru_cache(maxsize=1024)
def pydantic_writer(kind: Any) -> Convert:
    """Writes values of a class of pydantic's as JSON values."""
    from pydantic import TypeAdapter

    return functools.partial(TypeAdapter(kind).dump_python, mode="json", by_alias=True, round_trip=True, warnings=False)


def pydantic_reader(annotation: Any) -> Convert:
    """Reads what ``pydantic_writer`` writes; of a union, what the union's own rules choose."""
    from pydantic import TypeAdapter, ValidationError

    validate = TypeAdapter(annotation).validate_json

    def read(value: Any) -> Any:
        try:
            return validate(json.dumps(value))  # as JSON, or strict models would take no text for a date
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in first["loc"])
            raise Unfit(f"is refused by pydantic: {first['msg']}", where) from None

    return read


def struct_writer(others: Convert) -> Convert:
    """Writes Structs as JSON values; ``others`` writes what msgspec does not know."""
    from msgspec import to_builtins

    return functools.partial(to_builtins, str_keys=True, enc_hook=others)


def struct_reader(annotation: Any, others: Read) -> Convert:
    """Reads Structs, of a union by their tags; ``others`` reads what msgspec does not know."""
    from msgspec import ValidationError, convert

    def read(value: Any) -> Any:
        try:
            return convert(value, annotation, str_keys=True, dec_hook=others)
        except ValidationError as error:
            raise Unfit(f"is refused by msgspec: {error}") from None

    return read
