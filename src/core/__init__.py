"""What every task goes through, whichever strategy waits for its due time."""
