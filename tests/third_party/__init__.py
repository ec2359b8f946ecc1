"""A strategy that is not one of dueq's own, registered by entry point."""
