"""What a dispatcher does: makes tasks ready when they are due."""
