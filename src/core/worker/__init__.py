"""What a worker does: claims tasks, runs them, settles them."""
