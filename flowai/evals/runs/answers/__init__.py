"""Answers of trials: recorded ones, the steps around each, their checks, and comparisons between them."""
