"""Fixtures of the tests of the examples."""

from support.engine_fixtures import engine

__all__ = ["engine"]
