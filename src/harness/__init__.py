"""What bench, chaos and replay share: a real engine in a sandbox, and an account of what it did."""
