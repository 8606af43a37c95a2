"""Commands of the group `Learn` in the help."""
