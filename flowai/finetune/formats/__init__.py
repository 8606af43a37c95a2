"""Training formats and their rows."""
