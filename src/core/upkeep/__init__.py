"""Keeps a namespace in order, by whichever process finds that it is not."""
