"""Speaking to a Redis server. Nothing here knows of tasks."""
