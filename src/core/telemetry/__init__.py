"""What dueq says of itself: metrics, health and logs."""
