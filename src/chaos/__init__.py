"""Faults on purpose: real processes, a real server, and a ledger outside of dueq that says what came of it."""
