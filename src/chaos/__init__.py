"""Chaos runs: a real dueq under injected faults, judged by a ledger that the tasks themselves write."""
