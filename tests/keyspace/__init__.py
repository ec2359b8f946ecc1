"""Tests of the strategy ``keyspace`` alone: events, and the setting that they need."""
