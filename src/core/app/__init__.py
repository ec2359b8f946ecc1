"""What an application imports: tasks, their calls, and what comes of scheduling them."""
