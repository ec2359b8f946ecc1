"""Tests on real servers of every available version."""
