"""A strategy that is not dueq's own, registered by entry point."""
