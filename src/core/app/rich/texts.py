"""Types that JSON carries as text: how each is written, and read. The forms are strict, so no text has two meanings."""

from __future__ import annotations

import base64
import datetime
import decimal
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .unfit import Unfit

_ASCII = re.ASCII
_DATE = re.compile(r"\d{4}-\d\d-\d\d", _ASCII)
_CLOCK = r"\d\d:\d\d(?::\d\d(?:\.\d+)?)?"
_OFFSET = r"(?:Z|[+-]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)"
_INSTANT = re.compile(rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}{_OFFSET}", _ASCII)
_TIME = re.compile(rf"{_CLOCK}{_OFFSET}?", _ASCII)
_DURATION = re.compile(
    r"(-?)P(?=\d|T\d)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,6}))?S)?)?", _ASCII
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", _ASCII | re.IGNORECASE)
_DECIMAL = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:E[+-]?\d+)?|Infinity)", _ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Text:
    """One type: ``write`` makes text of its values, ``read`` makes a value of a JSON value; both raise Unfit."""

    write: Callable[[Any], str]
    read: Callable[[Any], Any]


def _matching(pattern: re.Pattern[str], value: Any, wanted: str) -> re.Match[str]:
    found = pattern.fullmatch(value) if type(value) is str else None
    if found is None:
        raise Unfit(f"is not {wanted}")
    return found


def _write_instant(value: datetime.datetime) -> str:
    if value.utcoffset() is None:
        raise Unfit(
            "is a datetime without a time zone, which names no instant: pass an aware one, such as "
            "datetime.now(timezone.utc)"
        )
    return value.isoformat()


def _read_instant(value: Any) -> datetime.datetime:
    _matching(_INSTANT, value, "a time with its offset, such as 2030-01-31T09:00:00+01:00")
    return datetime.datetime.fromisoformat(value)


def _read_date(value: Any) -> datetime.date:
    _matching(_DATE, value, "a date such as 2030-01-31")
    return datetime.date.fromisoformat(value)


def _write_time(value: datetime.time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise Unfit(
            "is a time of day whose time zone has an offset only together with a date: pass the time without a zone, "
            "and the zone's name beside it"
        )
    return value.isoformat()


def _read_time(value: Any) -> datetime.time:
    _matching(_TIME, value, "a time of day such as 09:30:00")
    return datetime.time.fromisoformat(value)


def _write_duration(value: datetime.timedelta) -> str:
    sign, value = ("-", -value) if value.days < 0 else ("", value)
    hours, rest = divmod(value.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{value.microseconds:06}".rstrip("0") if value.microseconds else ""
    days = f"{value.days}D" if value.days else ""
    clock = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    if seconds or fraction or not (days or clock):
        clock += f"{seconds}{fraction}S"
    return f"{sign}P{days}" + (f"T{clock}" if clock else "")


def _read_duration(value: Any) -> datetime.timedelta:
    if type(value) is int or type(value) is float:
        return datetime.timedelta(seconds=value)
    found = _matching(_DURATION, value, "a duration such as P1DT2H30M, nor a number of seconds")
    sign, *fields, fraction = found.groups()
    weeks, days, hours, minutes, seconds = (int(field or 0) for field in fields)
    length = datetime.timedelta(days, seconds, int((fraction or "").ljust(6, "0")), 0, minutes, hours, weeks)
    return -length if sign else length


def _read_uuid(value: Any) -> uuid.UUID:
    _matching(_UUID, value, "a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    return uuid.UUID(value)


def _write_decimal(value: decimal.Decimal) -> str:
    if value.is_nan():
        raise Unfit("is NaN, which equals nothing: pass None")
    return str(value)


def _read_decimal(value: Any) -> decimal.Decimal:
    if type(value) is int:
        return decimal.Decimal(value)
    _matching(_DECIMAL, value, 'a decimal number as text, such as "19.90", nor a whole number')
    return decimal.Decimal(value)


def _read_bytes(value: Any) -> bytes:
    if type(value) is str:
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            pass
    raise Unfit("is not bytes as base64 text")


DISJOINT: dict[type, Text] = {
    datetime.datetime: Text(_write_instant, _read_instant),
    datetime.date: Text(datetime.date.isoformat, _read_date),
    datetime.time: Text(_write_time, _read_time),
    datetime.timedelta: Text(_write_duration, _read_duration),
    uuid.UUID: Text(str, _read_uuid),
    decimal.Decimal: Text(_write_decimal, _read_decimal),
}
"""No text can be read as two of these, so a union of them is not ambiguous."""

TEXTS: dict[type, Text] = {
    **DISJOINT,
    bytes: Text(lambda value: base64.b64encode(value).decode(), _read_bytes),
}


def path_reader(kind: type) -> Callable[[Any], Any]:
    """Reads the paths of a class of pathlib's."""

    def read(value: Any) -> Any:
        if type(value) is not str:
            raise Unfit("is not a path as text")
        return kind(value)

    return read
