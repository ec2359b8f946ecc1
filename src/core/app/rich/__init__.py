"""Arguments that JSON has no type for: how a parameter's annotation carries them, and the proof that they arrive."""
