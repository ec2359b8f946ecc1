"""What keeps a namespace in order, whichever process sees that it is not."""
