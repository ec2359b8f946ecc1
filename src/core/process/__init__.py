"""What every process of dueq owes its operating system."""
