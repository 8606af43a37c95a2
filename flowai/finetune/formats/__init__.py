"""Training formats and the rows they hold."""
