"""Scripts are put together from the functions that they need, in several ways, which all mean the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from dueq.core.client.connection import connect
from dueq.core.schema.lua_linker import inlined, linked, with_needs, without_seldom

LIBRARY = """local P = 'p:'
local function key(name) return P .. name end
local function both(raw) return string.match(raw, '^(%a)name(%d)$') end
local function sum(a, b) return a + b end
local function put(name, value) redis.call('SET', key(name), value) end
local function twice(name) return name .. name end
local function upper(name) return name:upper() end
local function field(queue) return { name = queue } end
local function again(n) return n > 9 and n or again(n) end
local function last(name)
  local all = key(name)
  return string.sub(all, -1)
end
"""


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    client = connect(redis_url)
    yield client
    client.delete("p:name", "count")
    client.connection_pool.disconnect()


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("local name = 'x' return key(name) .. 'y'", True),
        ("return key('name, and more') .. 'y'", False),  # a comma in quotes is not told from one between arguments
        ("local letter, digit = both('aname1') return { letter, digit }", True),
        ("local raw = 'aname1' local letter, digit = both(raw) return { letter, digit }", True),
        ("return 3 * sum(1, 2)", True),
        ("local record = { a = 1, b = { 2 } } return sum(record.b[1], record.a)", True),
        ("local at = 1 local t = { 5, 7 } return sum(t[at], t[at + 1]) * 2", True),
        ("put('name', 5) return redis.call('GET', 'p:name')", True),
        ("if true then put('name', 6) end return redis.call('GET', 'p:name')", True),
        ("local raw = 'x' return sum(1, #raw)", False),
        ("return twice(redis.call('INCR', 'count'))", False),  # not to be counted twice
        ("local mine = { key = function(name) return name end } return mine.key('name')", False),
        ("local name = 'x' return last('name') .. 'key(name)'", False),
        ("local name = 'x' return last('name') .. \"key(name)\"", False),
        ("return key('x') .. [[\nkey(name) ]]", False),
        ("local P = 'mine' return key('x')", False),  # that of the library is meant
        ("local a, P = 1, 2 return key('x')", False),
        ("for P = 1, 1 do return key('x') end", False),
        ("local function f(x, P) return key('x') end return f(1, 2)", False),
        ("local function key(name) return 'mine' .. name end return key('x')", False),
        ("return upper('x')", False),
        ("return field('x').name", False),
        ("return again(10)", False),
    ],
)
def test_without_calls_it_means_the_same(client: redis.Redis, text: str, gone: bool) -> None:
    whole = LIBRARY + text
    short = inlined(whole, LIBRARY, text)
    client.delete("count")
    expected = client.eval(whole, 0)
    client.delete("count")
    assert client.eval(short, 0) == expected
    names = ("both", "sum", "put", "twice", "key", "upper", "field", "again")
    called = next(name for name in names if f"{name}(" in text)
    assert (f"local function {called}(" not in short) is gone


def test_what_is_of_no_value_there_is_not_put_at_the_beginning_of_a_statement() -> None:
    """Lua takes an expression for a statement only if it is a call."""
    text = "local function sum(a, b) return a + b end\nsum(1, 2)\nif x then sum(1, 2) end\nreturn sum(1, 2)\n"
    assert inlined(text, text, "").endswith("\nsum(1, 2)\nif x then sum(1, 2) end\nreturn (1 + 2)\n")


def test_only_what_is_needed_comes_along() -> None:
    needed = "local function a()\n  b()\nend\nlocal function b() x() end\n"
    library = f"-- words\nlocal C = 1\n{needed}local function c() end\n"
    assert linked(library, "a()") == f"local C = 1\n{needed}"
    assert linked(library, "nothing") == "local C = 1\n"


def test_what_is_seldom_needed_is_made_where_it_is(client: redis.Redis) -> None:
    library = "local function a() return 2 end\nlocal function b()\n  return a() + 1\nend\n"
    text = "if ARGV[1] == '1' then\n  -- needs b\n  return b()\nend\nreturn a()\n"
    head = linked(library, without_seldom(text))
    assert "function a" in head
    assert "function b" not in head
    whole = head + with_needs(text, library, head)
    assert whole.count("function a") == whole.count("function b") == 1
    assert [client.eval(whole, 0, argument) for argument in "01"] == [2, 3]


def test_a_comment_asks_for_no_function() -> None:
    text = """return put('name', 'a -- b') -- twice as much
-- and upper
local quoted = "it's -- " .. sum(1, 2)
"""
    found = linked(LIBRARY, text)
    assert {name for name in ("key", "put", "sum", "twice", "upper") if f"function {name}(" in found} == {
        "key",
        "put",
        "sum",
    }
