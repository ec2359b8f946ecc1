"""Tests of the replay: its logs, its ledger, its judgement, and a real replay."""
