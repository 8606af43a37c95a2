"""Commands of the group `Release` in the help."""
