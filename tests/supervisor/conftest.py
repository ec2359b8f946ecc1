"""Fixtures of the tests that run a real supervisor."""

from support.engine_fixtures import engine, sample

__all__ = ["engine", "sample"]
