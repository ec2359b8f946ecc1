"""What people ask of a namespace, whichever way they ask."""
