"""Replaying a real job log through a real dueq, judged by a ledger that the tasks themselves write."""
