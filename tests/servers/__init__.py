"""On real servers of every version that there is."""
