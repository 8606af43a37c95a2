"""Commands of the group `Run` in the help."""
