"""The smoke run that blocks or allows a deploy."""
