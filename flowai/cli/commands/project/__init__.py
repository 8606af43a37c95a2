"""Commands of the group `Project` in the help."""
