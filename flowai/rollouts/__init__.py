"""Release commands: publish, promote, roll back, list, compare."""
