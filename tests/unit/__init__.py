"""Pure values, without a server."""
