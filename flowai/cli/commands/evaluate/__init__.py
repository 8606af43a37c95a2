"""Commands of the group `Evaluate` in the help."""
