"""Keeps the wanted number of processes of each role alive."""
